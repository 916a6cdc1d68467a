"""sg-hub propagate: a first segmentation of a scan from one that is labelled, or several, without training."""

from __future__ import annotations

import argparse

import numpy as np

from sg_hub.cli.inputs import load_model, read
from sg_hub.errors import InvalidInputError
from sg_hub.inference.propagate import propagate
from sg_hub.io.files import LABEL_MAPS, check_output
from sg_hub.io.labels import load_labels
from sg_hub.io.scan import Scan


def run(options: argparse.Namespace) -> None:
    pairs = [(options.scan, options.labels), *options.also]
    inputs = [*(path for pair in pairs for path in pair), options.other]
    out = check_output(options.out, LABEL_MAPS, inputs)
    picture = check_output(options.picture, (".png",), inputs) if options.picture else None
    model = load_model(options)
    given, other = [read(model, path, options) for path, _ in pairs], read(model, options.other, options)
    scans = [scan for scan in given if isinstance(scan, Scan)]
    if not isinstance(other, Scan) or len(scans) < len(given):
        raise InvalidInputError(f"{options.model} takes images: labels are carried between scans; give 3D weights")
    labels = [load_labels(path, spacing=options.spacing, outside=bool(options.outside)) for _, path in pairs]
    found = propagate(model, scans, labels, other, progress=options.progress)
    other.save(found, out)
    legend = {}
    for value in sorted({int(value) for one in labels for value in np.unique(one.array)} - {0}):
        amount = int((found == value).sum()) * float(np.prod(other.spacing)) / 1000
        legend[f"label {value}: {amount:.1f} ml"] = value
    print("\n".join([*legend, str(out)]))
    if picture:
        from sg_hub.cli.drawing import draw_labels

        draw_labels(model, other, found, legend, picture)
        print(picture)
