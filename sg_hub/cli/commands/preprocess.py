"""sg-hub preprocess: say, write and draw what the network gets to see of a scan or an image."""

from __future__ import annotations

import argparse

import numpy as np

from sg_hub.cli.inputs import load_model, read
from sg_hub.io.files import check_output, writing


def run(options: argparse.Namespace) -> None:
    out = check_output(options.out, (".npy",), [options.scan]) if options.out else None
    picture = check_output(options.picture, (".png",), [options.scan]) if options.picture else None
    model = load_model(options)
    given = read(model, options.scan, options)
    x = model.preprocess(given).cpu()
    print(given)
    print(f"input of the network: {tuple(x.shape)}, values {float(x.min()):.3f} to {float(x.max()):.3f}")
    if out:
        with writing(out) as file:
            np.save(file, x.numpy())
        print(out)
    if picture:
        from sg_hub.cli.drawing import draw_input

        draw_input(model, given, x, picture)
        print(picture)
