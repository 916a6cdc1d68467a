"""sg-hub classify: the probability of every class of scans or images, with fine-tuned weights."""

from __future__ import annotations

import argparse

from sg_hub.cli.inputs import Each, all_scans, load_model, read, read_files, say_json
from sg_hub.cli.table import Table
from sg_hub.errors import InvalidInputError
from sg_hub.inference.classify import classify
from sg_hub.io.files import check_output


def run(options: argparse.Namespace) -> None:
    out = check_output(options.out, (".csv",), read_files(options)) if options.out else None
    model = load_model(options)
    if not model.head.classifies:
        raise InvalidInputError(
            f"{options.model} has a {model.head_name} head and gives no classes of a whole scan: give --model a folder "
            "of weights that were fine-tuned for classification"
        )
    scans = all_scans(model, options)
    alone = len(scans) == 1
    as_table = out is not None or not (alone or options.json)
    if as_table and "scan" in model.class_names:
        raise InvalidInputError(
            f"{options.model} has a class 'scan', and the table's column of that name says which scan it is: give "
            "--json, without --out"
        )

    def work(path: str) -> dict[str, float]:
        return classify(model, read(model, path, options), progress=options.progress and alone)

    each = Each(scans, work, options.progress, options.json)
    with Table(out) as table:
        for path, found in each:
            if options.json:
                say_json({"scan": path, "classes": found})
            if as_table:
                table.add(path, list(found), found.values())
            elif not options.json:
                print("\n".join(f"{name}: {share:.4f}" for name, share in found.items()))
    if out is not None and table.rows and not options.json:
        print(f"{out}: {table.rows} scans")
    each.check()
