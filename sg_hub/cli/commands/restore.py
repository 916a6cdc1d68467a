"""sg-hub restore: hide a box of some patches, restore them, and draw both."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sg_hub.cli.inputs import load_model, read
from sg_hub.errors import InvalidInputError
from sg_hub.io.files import check_output
from sg_hub.models.input_checks import Stride, per_axis


def run(options: argparse.Namespace) -> None:
    out = check_output(options.out, (".png",), [options.scan])
    model = load_model(options)
    if not model.head.restores:
        raise InvalidInputError(
            f"{options.model} has a {model.head_name} head and cannot restore: give --model weights with a pretext head"
        )
    given = read(model, options.scan, options)
    x = model.preprocess(given).cpu()
    grid = tuple(x.shape[2:])
    size = patch_size(model.preprocessing.input_size, grid, model.encoder.strides[-1])
    patches = draw_patches_of(x, size, options.cubes, options.seed)
    corrupted = hide_boxes(patches, options.seed, model.preprocessing.values)
    with torch.inference_mode():
        output = model(corrupted.to(next(model.parameters()).device))
    restored = model.head.map_of(output).cpu()
    before, after = (float(((batch - patches) ** 2).mean()) for batch in (corrupted, restored))
    from sg_hub.cli.drawing import draw_patches

    rows = {
        f"input: {len(patches)} patches of {' x '.join(map(str, size))}": patches,
        f"corrupted: a box of noise, mean squared error {before:.4f}": corrupted,
        f"restored by {Path(options.model).name}, mean squared error {after:.4f}": restored,
    }
    draw_patches(model, given, grid, rows, out)
    print(f"mean squared error: {before:.5f} corrupted, {after:.5f} restored")
    print(out)


def patch_size(recommended: Sequence[int], grid: Sequence[int], stride: Stride) -> tuple[int, ...]:
    """The recommended patch; along an axis where that is all there is, or more, about half of what there is."""
    return tuple(
        side if side < have else step * max(1, have // 2 // step)
        for side, have, step in zip(recommended, grid, per_axis(stride, len(grid)), strict=True)
    )


def hide_boxes(patches: Tensor, seed: int, values: tuple[float, float]) -> Tensor:
    """Copies of (N, C, spatial...) with uniform noise of a range in a box of a third of each side, in the middle."""
    hidden = patches.clone()
    box: Any = (..., *(slice(side // 3, side - side // 3) for side in patches.shape[2:]))
    noise = torch.empty(patches.shape).uniform_(*values, generator=torch.Generator().manual_seed(seed))
    hidden[box] = noise[box]
    return hidden


def draw_patches_of(x: Tensor, size: Sequence[int], count: int, seed: int) -> Tensor:
    """Patches (count, C, *size) of (1, C, spatial...): those with the most structure of many random places."""
    short = [max(0, want - have) for want, have in zip(size, x.shape[2:], strict=True)]
    x = F.pad(x, [value for amount in reversed(short) for value in (0, amount)])
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(8 * count):
        corner = [
            int(torch.randint(have - want + 1, (), generator=generator))
            for want, have in zip(size, x.shape[2:], strict=True)
        ]
        place: Any = (0, slice(None), *(slice(c, c + side) for c, side in zip(corner, size, strict=True)))
        found.append(x[place])
    found.sort(key=lambda patch: -float(patch.std()))
    return torch.stack(found[:count])
