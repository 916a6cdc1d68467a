"""sg-hub embed: one feature vector per scan or image, to a .csv or .npy file, or as CSV to standard output."""

from __future__ import annotations

import argparse

import numpy as np

from sg_hub.cli.inputs import Each, load_model, read
from sg_hub.cli.table import Table
from sg_hub.inference.embed import embed
from sg_hub.io.files import check_output, writing


def run(options: argparse.Namespace) -> None:
    out = check_output(options.out, (".npy", ".csv"), options.scans) if options.out else None
    model = load_model(options)
    alone = options.progress and len(options.scans) == 1
    each = Each(options.scans, lambda path: embed(model, read(model, path, options), progress=alone), options.progress)
    if out is not None and out.suffix.lower() == ".npy":
        vectors = [vector for _, vector in each]
        if vectors:
            with writing(out) as file:
                np.save(file, np.stack(vectors))
    else:
        with Table(out) as table:
            vectors = []
            for path, vector in each:
                table.add(path, [f"feature_{index}" for index in range(len(vector))], vector)
                vectors.append(vector)
    if out is not None and vectors:
        print(f"{out}: {len(vectors)} x {len(vectors[0])} (scans x features)")
    each.check()
