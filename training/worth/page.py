"""The page of the suite: a table of every measure, what differs, and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sg_hub.io.files import write_atomic

from ..compare.page import PAGE as COMPARISON
from ..report.figures import colours_of
from ..run.pages import markdown
from ..run.pages.figures import plt, save
from ..statistics.patients import (
    CENTRES,
    LOWER_IS_BETTER,
    UNITS,
    VOTED,
    Difference,
    corrected,
    difference,
    found_share,
    interval,
    summary,
)
from ..trials.task.initialisation import RANDOM, kind_of
from .measures.landmarks import DRAWS, VOTERS
from .rows import Row

PAGE = "worth.md"
FEW_LABELS = f"few/{COMPARISON}"
SHOWN = "Mean (landmarks: median) over patients, draws and classes"
OF_VOTERS = "intervals and p are over draws and the patients who are looked in, and take the voters as they were drawn"
_ACROSS = 4
"""Panels of a figure that stand beside each other."""
Cell = tuple[str, str, str]
"""Part, what of the network, measure."""


def write_page(
    out: Path,
    rows: Sequence[Row],
    weights: Sequence[str],
    random: Mapping[str, str],
    task: str,
    doubtful: Mapping[str, str],
) -> Path:
    """`worth.md` and its figures of what there is of these weights (and of what needs none).

    Args:
        random: of weights, the random network of their architecture; others are held against the first one.
        task: title of the target.
        doubtful: test patients whose reference is known to be wrong, and why.
    """
    cells = cells_of(rows, weights)
    names = [*weights, *sorted({row.weights for row in rows} - {*weights} & {_plain(row) for row in rows})]
    names = [name for name in dict.fromkeys(names) if any(name in found for found in cells.values())]
    reference = next((name for name in names if kind_of(name) == RANDOM), names[-1] if names else "")
    lines = [f"# What the weights are worth: {task}", ""]
    lines += [f"{SHOWN}, and the 95 % interval of a bootstrap", ""]
    lines += _table(cells, names)
    lines += _draws(cells)
    lines += _without_doubtful(cells, names, doubtful)
    if any(cell[2] == VOTED for cell in cells):
        lines += ["", f"Voted: by up to {VOTERS} other patients, in {DRAWS} draws; {OF_VOTERS}."]
    lines += ["", *_found(cells, names)]
    lines += ["## What differs", ""]
    lines += _differences(cells, {name: random.get(name, reference) for name in names if name in weights})
    lines += ["", "## By class", "", *_by_class(cells, names)]
    for part in dict.fromkeys(cell[0] for cell in cells):
        picture = out / f"{part}.png"
        _figure({cell: found for cell, found in cells.items() if cell[0] == part}, names, task, picture)
        lines += ["", markdown.picture(part, picture.name)]
    if (out / FEW_LABELS).is_file():
        lines += ["", f"With few labels, fine-tuned: [{FEW_LABELS}]({FEW_LABELS})"]
    write_atomic(out / PAGE, "\n".join(lines) + "\n")
    return out / PAGE


def _plain(row: Row) -> str:
    """Weights of a row that needs no network; else nothing."""
    return row.weights if not row.what else ""


def cells_of(rows: Sequence[Row], weights: Sequence[str]) -> dict[Cell, dict[str, Row]]:
    """By measure and weights; of a random network that was drawn several times all of these. What needs no network
    stands beside every measure of its part."""
    grouped: dict[Cell, dict[str, list[Row]]] = {}
    for row in rows:
        if row.weights in weights:
            grouped.setdefault((row.part, row.what, row.measure), {}).setdefault(row.weights, []).append(row)
    for row in rows:
        if not row.what:
            for (part, _, measure), found in grouped.items():
                if (part, measure) == (row.part, row.measure):
                    found.setdefault(row.weights, []).append(row)
    return {cell: {name: _joined(same) for name, same in found.items()} for cell, found in grouped.items()}


def _joined(rows: list[Row]) -> Row:
    """One row of all networks of that name, each with the values of its own."""
    last = rows[-1]
    same = [row.values for row in rows if (row.patients, row.draws) == (last.patients, last.draws)]
    return last if len(same) == 1 else replace(last, values=same)


def _title(cell: Cell) -> str:
    part, what, measure = cell
    unit = f" ({UNITS[measure]}, lower is better)" if measure in LOWER_IS_BETTER else ""
    return f"{part}: {what}: {measure}{unit}"


def _table(cells: dict[Cell, dict[str, Row]], names: Sequence[str]) -> list[str]:
    lines = markdown.header(["", *names])
    for cell, found in cells.items():
        texts = []
        for name in names:
            texts.append(with_interval(cell, found[name]) if name in found else "")
        lines.append(markdown.row([_title(cell), *texts]))
    return lines


def _draws(cells: dict[Cell, dict[str, Row]]) -> list[str]:
    """Of how many draws the random networks are."""
    drawn = {name: row.networks for found in cells.values() for name, row in found.items() if kind_of(name) == RANDOM}
    said = [f"{name} is {'one draw' if count == 1 else f'the mean of {count} draws'}" for name, count in drawn.items()]
    return ["", f"{'; '.join(said)}."] if said else []


def doubtful_of(
    cells: dict[Cell, dict[str, Row]], doubtful: Mapping[str, str]
) -> tuple[list[str], dict[Cell, dict[str, Row]]]:
    """Which of these patients were tested; and the rows without them, of measures that they are in."""
    tested = {patient: None for found in cells.values() for row in found.values() for patient in row.patients}
    named = [patient for patient in doubtful if patient in tested]
    return named, {
        cell: {name: row.without(named) for name, row in found.items()}
        for cell, found in cells.items()
        if any(not {*named}.isdisjoint(row.patients) for row in found.values())
    }


def _without_doubtful(
    cells: dict[Cell, dict[str, Row]], names: Sequence[str], doubtful: Mapping[str, str]
) -> list[str]:
    """The same figures without the test patients whose reference is known to be wrong."""
    named, sure = doubtful_of(cells, doubtful)
    if not named:
        return []
    why = "; ".join(f"{patient}: {doubtful[patient]}" for patient in named)
    lines = ["", f"Without {len(named)} test patients whose reference is known to be wrong ({why}):", ""]
    lines += markdown.header(["", *names])
    for cell, found in sure.items():
        texts = [number_text(cell, summary(cell[2], found[name].array)) if name in found else "" for name in names]
        lines.append(markdown.row([_title(cell), *texts]))
    return lines


def _found(cells: dict[Cell, dict[str, Row]], names: Sequence[str]) -> list[str]:
    """Of what centre errors are, for these are of what was found: much of it may be missing."""
    lines = []
    for cell, of_cell in cells.items():
        if cell[2] == CENTRES and len(of_cell) > 1:
            any_of_them = np.concatenate([row.array.reshape(-1, *row.array.shape[-3:]) for row in of_cell.values()])
            shares = {name: found_share(of_cell[name].array, any_of_them) for name in names if name in of_cell}
            texts = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
            lines += [f"{_title(cell)} is of what was found: of all that any of them found, {texts}.", ""]
    return lines


def _differences(cells: dict[Cell, dict[str, Row]], references: Mapping[str, str]) -> list[str]:
    pairs: dict[tuple[Cell, str], tuple[Row, Row]] = {}
    for cell, of_cell in cells.items():
        for name, reference in references.items():
            if name == reference or name not in of_cell or reference not in of_cell:
                continue
            one, other = of_cell[name], of_cell[reference]
            if kind_of(name) != RANDOM and one.is_paired(other):
                pairs[cell, name] = one, other
    if not pairs:
        return [
            "Nothing: there is nothing that these weights are held against. Give others, or random:NAME, beside them."
        ]
    found = {pair: gap_of(*rows, len(pairs)) for pair, rows in pairs.items()}
    holm = corrected(found)
    lines = [
        "Paired: patients and draws are drawn again for both alike. p is of this bootstrap, corrected for all lines "
        "(Holm); Welch's test is not paired. The effect is in standard deviations of the patients' differences.",
        "",
        *markdown.header(["", "weights", "against", "difference", "p (Holm)", "p (Welch)", "effect"]),
    ]
    for (cell, name), gap in found.items():
        span = f"{number_text(cell, gap.value)} ({number_text(cell, gap.low)} to {number_text(cell, gap.high)})"
        effect = f"{gap.effect:.2f} ({gap.effect_low:.2f} to {gap.effect_high:.2f})"
        tests = (f"{holm[cell, name]:.3g}", f"{gap.welch:.3g}")
        lines.append(markdown.row([_title(cell), name, references[name], span, *tests, effect]))
    return lines


def gap_of(one: Row, other: Row, comparisons: int) -> Difference:
    """Of two rows of the same patients and draws, one of so many comparisons."""
    return difference(one.measure, one.array, other.array, one.joint, one.patients, comparisons)


def with_interval(cell: Cell, row: Row) -> str:
    """A measure, and the 95 % interval of it."""
    low, high = interval(cell[2], row.array, row.joint, row.patients)
    value = summary(cell[2], row.array)
    return f"{number_text(cell, value)} ({number_text(cell, low)} to {number_text(cell, high)})"


def _by_class(cells: dict[Cell, dict[str, Row]], names: Sequence[str]) -> list[str]:
    lines = []
    for cell, found in cells.items():
        classes = next(iter(found.values())).classes
        lines += [f"{_title(cell)}", "", *markdown.header(["", *classes])]
        for name in (name for name in names if name in found):
            array = found[name].array
            values = [summary(cell[2], array[..., number : number + 1]) for number in range(len(classes))]
            lines.append(markdown.row([name, *(number_text(cell, value) for value in values)]))
        lines.append("")
    return lines


def number_text(cell: Cell, value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.1f}" if cell[2] in UNITS else f"{value:.3f}"


def _figure(cells: dict[Cell, dict[str, Row]], names: Sequence[str], task: str, path: Path) -> None:
    """A panel a measure, a bar for each of the weights with its interval; of which task, how many patients and draws,
    and what the lines are, stands in it."""
    across = min(len(cells), _ACROSS)
    down = -(-len(cells) // across)
    figure, panels = plt.subplots(down, across, figsize=(1 + 2.8 * across, 3.8 * down), squeeze=False)
    colours = colours_of(names)
    for panel in panels.flat[len(cells) :]:
        panel.axis("off")
    for panel, (cell, found) in zip(panels.flat, cells.items(), strict=False):
        shown = [name for name in names if name in found]
        for place, name in enumerate(shown):
            value = summary(cell[2], found[name].array)
            low, high = interval(cell[2], found[name].array, found[name].joint, found[name].patients)
            panel.bar(place, value, color=colours[name])
            panel.errorbar(place, value, [[max(0.0, value - low)], [max(0.0, high - value)]], color="black", capsize=3)
        panel.set_xticks(range(len(shown)), [Path(name).name for name in shown], rotation=25, ha="right", fontsize=7)
        title = _title(cell).removeprefix(f"{cell[0]}: ")
        panel.set_title(f"{title}\n{_counts([found[name] for name in shown])}", fontsize=7)
    figure.suptitle(task, fontsize=8)
    figure.supxlabel(f"{SHOWN}.\nLines: 95 % interval of a bootstrap over patients and draws.", fontsize=8)
    save(figure, path)


def _counts(rows: Sequence[Row]) -> str:
    """How many patients and draws a panel is of; where not all are of as many, the least and the most."""
    counts = {
        "patient": {len(set(row.patients)) for row in rows},
        "template" if rows[0].joint else "draw": {len(row.draws) for row in rows},
    }
    return ", ".join(
        f"{' to '.join(map(str, sorted({min(of), max(of)})))} {name}{'s' * (of != {1})}" for name, of in counts.items()
    )
