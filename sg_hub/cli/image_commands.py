"""What the commands of sg-hub do with an image and a 2D model; `sg_hub.cli.commands` calls these."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from sg_hub.cli.cubes import draw_cubes, hide_boxes
from sg_hub.inference.predict import predict
from sg_hub.io.image import Image
from sg_hub.io.pictures import Row, grey, montage, overlay, save_png
from sg_hub.models import PretextOutput, SemanticGenesis


def restore(model: SemanticGenesis, image: Image, options: argparse.Namespace, out: Path) -> None:
    """Hide a box of some patches of an image, restore them, and draw both."""
    x = model.preprocess(image)
    rows, columns = (model.encoder.strides[-1] * max(1, side // 2 // model.encoder.strides[-1]) for side in x.shape[2:])
    patches = draw_cubes(x, (rows, columns), options.cubes, options.seed)
    corrupted = hide_boxes(patches, options.seed)
    with torch.inference_mode():
        output = model(corrupted)
    restored = output.restoration if isinstance(output, PretextOutput) else output
    before, after = (float(((batch - patches) ** 2).mean()) for batch in (corrupted, restored))
    drawn = (
        (f"input: {len(patches)} patches of {rows} x {columns}", patches),
        (f"corrupted: a box of noise, mean squared error {before:.4f}", corrupted),
        (f"restored by {Path(options.model).name}, mean squared error {after:.4f}", restored),
    )
    save_png(montage([Row(label, [grey(patch[0].numpy()) for patch in batch]) for label, batch in drawn]), out)
    print(f"mean squared error: {before:.5f} corrupted, {after:.5f} restored")
    print(out)


def segment(model: SemanticGenesis, image: Image, out: Path, picture: Path | None) -> None:
    """Write the labels of an image as an image of its size, and draw them over it."""
    labels = predict(model, image, output="labels")
    image.save(labels, out)
    legend = {}
    for value in range(1, max(model.num_classes, 2)):
        share = float((labels == value).mean())
        legend[f"class {value}: {100 * share:.1f} % of the image"] = value
        print(f"class {value}: {int((labels == value).sum())} pixels, {100 * share:.1f} % of the image")
    print(out)
    if picture:
        shown = image.array[0]
        row = Row(str(image.source), [grey(shown), overlay(shown, labels)], image.spacing or (1.0, 1.0))
        save_png(montage([row], cell=384, legend=legend), picture)
        print(picture)


def draw_input(image: Image, x: Tensor, picture: Path) -> None:
    """Draw an image beside what the network gets to see of it, (1, C, H, W)."""
    images = (("file", image.array[0]), ("input of the network", x[0, 0].numpy()))
    save_png(montage([Row(label, [grey(array)]) for label, array in images], cell=384), picture)
