"""What the suite says of weights to their cards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sg_hub.io.files import write_json

from ..data.leakage import check_unseen
from ..report.page import p_text
from ..run.folder.checksums import sealed
from ..statistics.patients import CENTRES, LOWER_IS_BETTER, UNITS, VOTED, Difference, corrected, found_share, summary
from ..statistics.trials import LEVEL
from ..trials.task.initialisation import FRESH, name_of
from .asked import FROZEN, POSITION, ZERO, Asked, fresh_of, of_these
from .measures import classification
from .measures.classification import FRACTION, NEIGHBOURS
from .measures.landmarks import DRAWS, VOTERS
from .measures.light_decoder import CHANNELS, STEPS
from .measures.probes import LABELLED, SUBSETS
from .networks import PATCHES
from .page import Cell, cells_of, doubtful_of, gap_of, number_text, with_interval
from .rows import Row

SUFFIX = ".worth.json"


def write_card_records(out: Path, rows: Sequence[Row], asked: Sequence[Asked]) -> None:
    """A record beside the page for each of the weights, where a random network of their architecture, but for the head,
    was measured on their grid.

    Args:
        rows: all that were measured, whatever was asked for now.
    """
    for one in asked:
        start = one.contender.start
        fresh = fresh_of(one, asked)
        if start.kind in FRESH or not fresh:
            continue
        of_both = of_these(rows, [one, *fresh], (ZERO, FROZEN))
        random = fresh[0].contender.start.init
        record = _record(cells_of(of_both, [start.init, random]), one, random)
        if record["rows"]:
            name, more = Path(name_of(start.init)).resolve().name, "-calibrated" if one.contender.calibrated else ""
            write_json(out / f"{name}-{start.sha256[:8]}{more}-{one.task.name}{SUFFIX}", sealed(record))


def _record(cells: dict[Cell, dict[str, Row]], one: Asked, fresh: str) -> dict[str, Any]:
    start, target = one.contender.start, one.task
    both = {cell: found for cell, found in cells.items() if start.init in found and fresh in found}
    paired = {cell: found for cell, found in both.items() if found[start.init].is_paired(found[fresh])}
    gaps = {cell: gap_of(found[start.init], found[fresh], len(paired)) for cell, found in paired.items()}
    holm = corrected(gaps)
    return {
        "title": target.title + (", statistics of clean patches" if one.contender.calibrated else ""),
        "about": f"{target.description} {_about(both, one, fresh)}",
        "dataset_type": target.dataset,
        "dataset_name": target.title,
        "rows": [
            {
                "name": _name(cell),
                "pretrained": with_interval(cell, found[start.init]),
                "random": with_interval(cell, found[fresh]),
                "position": with_interval(cell, found[POSITION]) if POSITION in found else "",
                "difference": _difference(cell, gaps[cell]) if cell in gaps else "",
                "p": p_text(holm[cell]) if cell in gaps else "",
            }
            for cell, found in both.items()
        ],
        "verdict": _verdict(gaps, holm, one_draw=all(found[fresh].networks == 1 for found in both.values())),
        "sha256": start.sha256,
    }


def _verdict(gaps: dict[Cell, Difference], holm: dict[Cell, float], one_draw: bool) -> str:
    """In how many measures the weights differ from a random network."""
    if not gaps:
        return "Whether that differs from a random network was not tested: it was measured on other patients."
    sure = {cell: gap for cell, gap in gaps.items() if holm[cell] < LEVEL}
    better = sum((gap.value < 0) == (cell[2] in LOWER_IS_BETTER) for cell, gap in sure.items())
    return (
        f"Better than {'one' if one_draw else 'a'} random network in {better} of {len(gaps)} measures, worse in "
        f"{len(sure) - better}, at p < {LEVEL:g} (Holm)."
    )


def _about(cells: dict[Cell, dict[str, Row]], one: Asked, fresh: str) -> str:
    """How it was measured, of what was."""
    start, target = one.contender.start, one.task
    rows = {cell: found[start.init] for cell, found in cells.items()}
    said = ["None of the network's weights was trained."]
    patients = {
        part: max((len({*r.patients}) for c, r in rows.items() if c[0] == part), default=0) for part in (ZERO, FROZEN)
    }
    if patients[ZERO]:
        said.append(
            f"Landmarks are the centres of classes in {patients[ZERO]} test patients, looked for in each other."
        )
    if any(cell[2] == VOTED for cell in cells):
        said.append(f"Voted: up to {VOTERS} others of these look for one, in {DRAWS} draws.")
    if target.head == "classification":
        said.append(
            f"Mean and deviation of every level of the encoder describe an item. It is classified by the {NEIGHBOURS} "
            f"training items that are nearest, and by linear layers that learnt from {FRACTION:.0%} of the training "
            f"patients, in {classification.SUBSETS} draws, with the penalty that does best on validation patients; "
            f"{patients[FROZEN]} patients test it."
        )
    elif any("probe" in cell[1] for cell in cells):
        said.append(
            f"Probes are linear layers on frozen feature maps, of {LABELLED} labelled patients in {SUBSETS} draws; "
            f"{patients[FROZEN]} patients test them."
        )
    if any("light decoder" in cell[1] for cell in cells):
        said.append(
            f"The light decoder, of {CHANNELS} channels and one convolution of 3 x 3 x 3, is trained on the frozen "
            f"encoder, {STEPS} steps of one scan of the same labelled patients."
        )
    shares = [
        f"{_name(cell).partition(': centre')[0]} {_percent(found[start.init], found[fresh])} (random "
        f"{_percent(found[fresh], found[start.init])})"
        for cell, found in cells.items()
        if cell[2] == CENTRES
    ]
    if shares:
        said.append(f"Centre errors are of what was found: of all that either found, {'; '.join(shares)}.")
    tested = {patient for row in rows.values() for patient in row.patients}
    if tested:
        names = [f"{target.dataset}/{patient}" for patient in sorted(tested)]
        reason = check_unseen(start.provenance, target.dataset, names)
        unseen = f"Whether test patients were in pre-training cannot be told: {reason}."
        said.append(unseen if reason else "No test patient was in pre-training.")
    if start.config.get("norm") in ("batch", "batch_stats"):
        own = "" if one.contender.calibrated else "; these weights have their own"
        said.append(f"Statistics of the random network's norms are of {PATCHES} clean patches{own}.")
    drawn = max((found[fresh].networks for found in cells.values()), default=1)
    said.append(f"The random network is {f'the mean of {drawn}' if drawn > 1 else 'one draw'}.")
    if tested:
        means = "Medians (landmarks) and means" if patients[ZERO] else "Means"
        said.append(f"{means}, with 95 % intervals of a bootstrap of patients and draws.")
    named, sure = doubtful_of(cells, target.doubtful)
    if named:
        values = [
            f"{_name(cell)} {' (random '.join(_value(cell, found[name]) for name in (start.init, fresh))})"
            for cell, found in sure.items()
        ]
        said.append(
            f"Without the {len(named)} test patients whose reference is known to be wrong ({', '.join(named)}): "
            f"{'; '.join(values)}."
        )
    return " ".join(said)


def _value(cell: Cell, row: Row) -> str:
    return number_text(cell, summary(cell[2], row.array))


def _percent(one: Row, other: Row) -> str:
    return f"{100 * found_share(one.array, other.array):.1f} %"


def _name(cell: Cell) -> str:
    _, what, measure = cell
    return f"{what}: {measure}" + (f" ({UNITS[measure]})" if measure in UNITS else "")


def _difference(cell: Cell, gap: Difference) -> str:
    value, low, high = (f"{'+' if x > 0 else ''}{number_text(cell, x)}" for x in (gap.value, gap.low, gap.high))
    return f"{value} ({low} to {high})"
