"""sg-hub propagate: a first segmentation of a scan from one that is labelled, without training."""

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
    inputs = [options.scan, options.labels, options.other]
    out = check_output(options.out, LABEL_MAPS, inputs)
    picture = check_output(options.picture, (".png",), inputs) if options.picture else None
    model = load_model(options)
    scan, other = read(model, options.scan, options), read(model, options.other, options)
    if not isinstance(scan, Scan) or not isinstance(other, Scan):
        raise InvalidInputError(f"{options.model} takes images: labels are carried between scans; give 3D weights")
    labels = load_labels(options.labels, spacing=options.spacing, outside=bool(options.outside))
    found = propagate(model, scan, labels, other, progress=options.progress)
    other.save(found, out)
    legend = {}
    for value in np.unique(labels.array)[1:].astype(int) if labels.array.min() == 0 else np.unique(labels.array):
        amount = int((found == value).sum()) * float(np.prod(other.spacing)) / 1000
        legend[f"label {int(value)}: {amount:.1f} ml"] = int(value)
    print("\n".join([*legend, str(out)]))
    if picture:
        from sg_hub.cli.drawing import draw_labels

        draw_labels(model, other, found, legend, picture)
        print(picture)
