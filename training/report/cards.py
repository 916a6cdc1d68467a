"""What a report says of weights to their cards."""

from __future__ import annotations

import math
from pathlib import Path

from sg_hub.io.files import write_json
from sg_hub.models.heads import head_of

from ..run.folder.checksums import sealed
from ..statistics.trials import LEVEL, Comparison, compare, summarise
from ..trials.task.initialisation import ENCODER, IMAGENET, RANDOM, kind_of, name_of
from ..trials.task.metrics import METRICS
from ..trials.variant import Variant
from .columns import Column
from .page import p_text
from .tables import percent


def write_card_record(folder: Path, column: Column, init: str) -> None:
    """What the card of these weights says of the target, where its architecture was run from random weights too."""
    rows = column.rows[init]
    metric, first = column.settings["metric"], rows[0]
    fresh = f"random:{first['architecture']}"
    random = next((name for name, others in column.rows.items() if others[0]["weights"] == fresh), None)
    baseline = column.rows.get(random or "")
    if kind_of(init) in (RANDOM, IMAGENET) or random is None or baseline is None:
        return
    of_classes = [name for name in first["values"] if name.startswith(f"{metric} ")]
    names = [name for name in of_classes if all(name in row["values"] for row in [*rows, *baseline])] + [metric]
    tests = {
        name: compare([row["values"][name] for row in rows], [row["values"][name] for row in baseline])
        for name in names
    }
    training, title = column.settings["settings"], column.settings["title"]
    labels = f"{column.labels}, own settings" if column.own else column.labels
    part = "-encoder" if kind_of(init) == ENCODER else ""
    unseen = f"Whether test patients were in pre-training cannot be told: {first['unchecked']}."
    if not first["unchecked"]:
        unseen = "No test patient was in pre-training."
    sha256 = first["weights"].partition(":")[2]
    record = {
        "title": f"{title}{labels}, {'encoder alone (the rest starts afresh)' if part else 'the whole network'}",
        "labels": column.labels.removeprefix(", "),
        "about": (
            f"{len(rows)} trials each. {column.settings['description']} {first['patients']['train']} patients to train "
            f"on, {first['patients']['validation']} to {'validate on' if column.keeps_last else 'choose the step'}, "
            f"{first['patients']['test']} to test on. "
            f"{unseen} {training['steps']} steps of {training['batch_size']}, learning rate {training['lr']:g}"
            f"{_own(column, init, random)}. Mean ± standard deviation over trials."
            f"{_without_doubtful(column, init, random)}"
        ),
        "dataset_type": column.settings["dataset"],
        "dataset_name": title,
        "task_type": head_of(column.settings["head"]).hub_task,
        "metric_type": "roc_auc" if metric == "auc" else metric,
        "metric": METRICS[metric],
        "rows": [
            {
                "name": "mean" if name == metric else name.removeprefix(f"{metric} "),
                "pretrained": _plain([row["values"][name] for row in rows]),
                "random": _plain([row["values"][name] for row in baseline]),
                "difference": _difference(test),
                "p": p_text(test.p),
            }
            for name, test in tests.items()
        ],
        "verdict": _verdict(column, tests[metric], init, random),
        "sha256": sha256,
        **(
            {"doubtful": {"items": len(column.doubtful), "value": _plain_of(column, init)}}
            if init in column.sure
            else {}
        ),
    }
    write_json(folder / column.slug / f"{Path(name_of(init)).name}{part}-{sha256[:8]}.json", sealed(record))


def _verdict(column: Column, test: Comparison, init: str, fresh: str) -> str:
    """Whether the weights are better than a random initialisation."""
    metric = METRICS[column.settings["metric"]]
    if test.is_level:
        return f"These weights are level with a random initialisation: both have the same mean {metric}."
    word, certainty = "better" if test.difference > 0 else "worse", "" if test.p < LEVEL else "not "
    p, paired = (p_text(one) or "undefined" for one in (test.p, column.paired(init, fresh).p))
    return (
        f"These weights are {abs(test.difference):.3f} {metric} {word} than a random initialisation, "
        f"{certainty}significantly at p = {LEVEL:g} (p = {p}; paired by trial {paired})."
    )


def _own(column: Column, init: str, fresh: str) -> str:
    """Which settings of its own each had; nothing where all had those of the target."""
    if not column.own:
        return ""
    mine, random = (Variant(**column.rows[name][0]["own"]) for name in (init, fresh))
    return f"; each as it did best on validation patients: these weights {mine}, random ones {random}"


def _without_doubtful(column: Column, init: str, fresh: str) -> str:
    if init not in column.sure or fresh not in column.sure:
        return ""
    mine, random = (percent(column.sure[name]) for name in (init, fresh))
    return (
        f" Without the {len(column.doubtful)} test items whose reference is known to be wrong it is {mine} %, from "
        f"random weights {random} %."
    )


def _plain_of(column: Column, init: str) -> str:
    """The mean without test items whose reference is known to be wrong, as the other means are written."""
    sure = column.sure[init]
    return f"{sure.mean:.3f}" + ("" if math.isnan(sure.sd) else f" ± {sure.sd:.3f}")


def _difference(test: Comparison) -> str:
    interval = "" if math.isnan(test.low) else f" ({test.low:+.3f} to {test.high:+.3f})"
    return f"{test.difference:+.3f}{interval}"


def _plain(values: list[float]) -> str:
    summary = summarise(values)
    return f"{summary.mean:.3f}" + ("" if math.isnan(summary.sd) else f" ± {summary.sd:.3f}")
