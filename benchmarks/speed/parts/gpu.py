"""On a GPU: the transformations, and a training step as it runs there beside plain float32. No other package is wanted.

Only what is there is measured: without a GPU there are no rows.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch

from training.run.layout import to_device

from ..measuring import Row, alternately, compared, threads
from .step import flops_of, one_step, ours
from .transforms import SIZE, batch_of, each_of

CUBES, WIDTH = 64, 32
_SIDE = 8192


def run() -> list[Row]:
    if not torch.cuda.is_available():
        return []
    with threads(2) as clock:
        batch, generator = batch_of(CUBES, SIZE, "cuda")
        rows = []
        for name, work in each_of(batch, generator).items():
            rows += compared(f"{name}, GPU", "ms", alternately({"ours": work}, clock, 20), 1000 / CUBES)
        product = torch.rand(_SIDE, _SIDE, device="cuda").bfloat16()
        seconds = statistics.median(alternately({"mm": lambda: product @ product}, clock, 20)["mm"])
        peak = 2 * _SIDE**3 / seconds / 1e12
        rows.append(Row(f"product of two matrices of {_SIDE} x {_SIDE}, bfloat16, GPU", peak, "TFLOP/s"))
        flops = flops_of(ours(WIDTH), torch.rand(CUBES, 1, *SIZE))
        x = batch.contiguous(memory_format=torch.channels_last_3d)
        plain, quick, compiled = (ours(WIDTH).cuda() for _ in range(3))
        to_device(quick, "cuda", 3)
        to_device(compiled, "cuda", 3)
        compiled.compile()
        steps = {
            "ours": one_step(_Half(quick), x, False),
            "torch.compile": one_step(_Half(compiled), x, False),
            "plain float32": one_step(plain, batch, False),
        }
        taken = alternately(steps, clock, 10)
        size = " x ".join(map(str, SIZE))
        rows += compared(f"training step, width {WIDTH}, {CUBES} cubes of {size}, GPU", "s", taken, 1)
        seconds = statistics.median(taken["ours"])
        rows.append(Row(f"its rate, width {WIDTH}, GPU", CUBES / seconds, "cubes/s"))
        rate = flops / seconds / 1e12
        rows.append(
            Row(f"its arithmetic, width {WIDTH}, GPU", rate, "TFLOP/s", "product of matrices", peak, rate / peak)
        )
    return rows


class _Half:
    """A network that computes in bfloat16, as training does."""

    def __init__(self, network: Any) -> None:
        self.network, self.parameters = network, network.parameters

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            found: torch.Tensor = self.network(x)
        return found.float()
