"""sg-hub classify: the probability of every class of scans or images, with fine-tuned weights."""

from __future__ import annotations

import argparse

from sg_hub.cli.inputs import Each, load_model, read
from sg_hub.cli.table import Table
from sg_hub.errors import InvalidInputError
from sg_hub.inference.classify import classify
from sg_hub.io.files import check_output


def run(options: argparse.Namespace) -> None:
    out = check_output(options.out, (".csv",), options.scans) if options.out else None
    model = load_model(options)
    if not model.head.classifies:
        raise InvalidInputError(
            f"{options.model} has a {model.head_name} head and gives no classes of a whole scan: give --model a folder "
            "of weights that were fine-tuned for classification"
        )
    alone = len(options.scans) == 1

    def work(path: str) -> dict[str, float]:
        return classify(model, read(model, path, options), progress=options.progress and alone)

    each = Each(options.scans, work, options.progress)
    with Table(out) as table:
        for path, found in each:
            if alone and out is None:
                print("\n".join(f"{name}: {share:.4f}" for name, share in found.items()))
            else:
                table.add(path, list(found), found.values())
    if out is not None and table.rows:
        print(f"{out}: {table.rows} scans")
    each.check()
