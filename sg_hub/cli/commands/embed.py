"""sg-hub embed: one feature vector per scan or image, to a .csv or .npy file, or as CSV to standard output."""

from __future__ import annotations

import argparse

import numpy as np

from sg_hub.cli.inputs import Each, all_scans, load_model, read, read_files, say_json
from sg_hub.cli.table import Table
from sg_hub.inference.embed import embed
from sg_hub.io.files import check_output, writing


def run(options: argparse.Namespace) -> None:
    out = check_output(options.out, (".npy", ".csv"), read_files(options)) if options.out else None
    model = load_model(options)
    scans = all_scans(model, options)
    bar = options.progress and len(scans) == 1
    work = Each(
        scans, lambda path: embed(model, read(model, path, options), progress=bar), options.progress, options.json
    )
    as_array = out is not None and out.suffix.lower() == ".npy"
    vectors: dict[str, np.ndarray] = {}
    try:
        with Table(None if as_array else out) as table:
            for path, vector in work:
                vectors[path] = vector
                if options.json:
                    say_json({"scan": path, "features": vector.tolist()})
                if not as_array and (out is not None or not options.json):
                    table.add(path, [f"feature_{index}" for index in range(len(vector))], vector)
    finally:  # those that are there are kept, when it is stopped too
        if out is not None and as_array and vectors:
            absent = np.full_like(next(iter(vectors.values())), np.nan)
            with writing(out) as file:
                np.save(file, np.stack([vectors.get(path, absent) for path in scans]))
    if out is not None and vectors and not options.json:
        rows, features = len(scans) if as_array else table.rows, len(next(iter(vectors.values())))
        failed = f", {len(work.failed)} of them NaN: what failed" if as_array and work.failed else ""
        print(f"{out}: {rows} x {features} (scans x features{failed})")
    work.check()
