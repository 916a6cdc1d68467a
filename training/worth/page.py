"""The page of the suite: a table of every measure, what differs, and figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sg_hub.io.files import write_atomic

from ..compare.page import PAGE as COMPARISON
from ..report.figures import colours_of
from ..run.figures import plt, save
from ..statistics.patients import LOWER_IS_BETTER, UNITS, Difference, corrected, difference, interval, summary
from ..trials.task.initialisation import RANDOM, kind_of
from .rows import Row

PAGE = "worth.md"
FEW_LABELS = f"few/{COMPARISON}"
_ACROSS = 4
"""Panels of a figure that stand beside each other."""
Cell = tuple[str, str, str]
"""Part, what of the network, measure."""


def write_page(out: Path, rows: Sequence[Row], weights: Sequence[str]) -> Path:
    """`worth.md` and its figures of what there is of these weights (and of what needs none)."""
    cells = cells_of(rows, weights)
    names = [*weights, *sorted({row.weights for row in rows} - {*weights} & {_plain(row) for row in rows})]
    names = [name for name in dict.fromkeys(names) if any(name in found for found in cells.values())]
    reference = next((name for name in names if kind_of(name) == RANDOM), names[-1] if names else "")
    lines = ["# What the weights are worth", ""]
    lines += ["Mean (landmarks: median) over patients, draws and classes, and the 95 % interval of a bootstrap", ""]
    lines += _table(cells, names)
    lines += ["", f"## Against {reference}", ""]
    lines += _differences(cells, names, reference)
    lines += ["", "## By class", "", *_by_class(cells, names)]
    for part in dict.fromkeys(cell[0] for cell in cells):
        picture = out / f"{part}.png"
        _figure({cell: found for cell, found in cells.items() if cell[0] == part}, names, picture)
        lines += ["", f"![{part}]({picture.name})"]
    if (out / FEW_LABELS).is_file():
        lines += ["", f"With few labels, fine-tuned: [{FEW_LABELS}]({FEW_LABELS})"]
    write_atomic(out / PAGE, "\n".join(lines) + "\n")
    return out / PAGE


def _plain(row: Row) -> str:
    """Weights of a row that needs no network; else nothing."""
    return row.weights if not row.what else ""


def cells_of(rows: Sequence[Row], weights: Sequence[str]) -> dict[Cell, dict[str, Row]]:
    """By measure and weights; of a random network that was drawn several times the mean. What needs no network stands
    beside every measure of its part."""
    grouped: dict[Cell, dict[str, list[Row]]] = {}
    for row in rows:
        if row.weights in weights:
            grouped.setdefault((row.part, row.what, row.measure), {}).setdefault(row.weights, []).append(row)
    for row in rows:
        if not row.what:
            for (part, _, measure), found in grouped.items():
                if (part, measure) == (row.part, row.measure):
                    found.setdefault(row.weights, []).append(row)
    return {cell: {name: _mean(same) for name, same in found.items()} for cell, found in grouped.items()}


def _mean(rows: list[Row]) -> Row:
    last = rows[-1]
    same = [row.array for row in rows if (row.patients, row.draws) == (last.patients, last.draws)]
    return last if len(same) == 1 else Row(**{**last.__dict__, "values": np.mean(same, 0).tolist()})


def _title(cell: Cell) -> str:
    part, what, measure = cell
    unit = f" ({UNITS[measure]}, lower is better)" if measure in LOWER_IS_BETTER else ""
    return f"{part}: {what}: {measure}{unit}"


def _table(cells: dict[Cell, dict[str, Row]], names: Sequence[str]) -> list[str]:
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for cell, found in cells.items():
        texts = []
        for name in names:
            texts.append(with_interval(cell, found[name]) if name in found else "")
        lines.append(f"| {_title(cell)} | " + " | ".join(texts) + " |")
    return lines


def _differences(cells: dict[Cell, dict[str, Row]], names: Sequence[str], reference: str) -> list[str]:
    found: dict[tuple[Cell, str], Difference] = {}
    for cell, of_cell in cells.items():
        for name in names:
            if name == reference or name not in of_cell or reference not in of_cell:
                continue
            one, other = of_cell[name], of_cell[reference]
            if one.is_paired(other) and one.array.size > 1:
                found[cell, name] = gap_of(one, other)
    holm = corrected(found)
    lines = [
        "Paired: patients and draws are drawn again for both alike. p is of this bootstrap, corrected for all lines "
        "(Holm); Welch's test is not paired. The effect is in standard deviations of the patients' differences.",
        "",
        "| | weights | difference | p (Holm) | p (Welch) | effect |",
        "|---|---|---|---|---|---|",
    ]
    for (cell, name), gap in found.items():
        span = f"{number_text(cell, gap.value)} ({number_text(cell, gap.low)} to {number_text(cell, gap.high)})"
        effect = f"{gap.effect:.2f} ({gap.effect_low:.2f} to {gap.effect_high:.2f})"
        lines.append(f"| {_title(cell)} | {name} | {span} | {holm[cell, name]:.3g} | {gap.welch:.3g} | {effect} |")
    return lines


def gap_of(one: Row, other: Row) -> Difference:
    """Of two rows of the same patients and draws."""
    return difference(one.measure, one.array, other.array, one.joint, one.patients)


def with_interval(cell: Cell, row: Row) -> str:
    """A measure, and the 95 % interval of it."""
    low, high = interval(cell[2], row.array, row.joint, row.patients)
    value = summary(cell[2], row.array)
    return f"{number_text(cell, value)} ({number_text(cell, low)} to {number_text(cell, high)})"


def _by_class(cells: dict[Cell, dict[str, Row]], names: Sequence[str]) -> list[str]:
    lines = []
    for cell, found in cells.items():
        classes = next(iter(found.values())).classes
        lines += [f"{_title(cell)}", "", "| | " + " | ".join(classes) + " |", "|---" * (len(classes) + 1) + "|"]
        for name in (name for name in names if name in found):
            array = found[name].array
            values = [summary(cell[2], array[:, :, number : number + 1]) for number in range(len(classes))]
            lines.append(f"| {name} | " + " | ".join(number_text(cell, value) for value in values) + " |")
        lines.append("")
    return lines


def number_text(cell: Cell, value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.1f}" if cell[2] in UNITS else f"{value:.3f}"


def _figure(cells: dict[Cell, dict[str, Row]], names: Sequence[str], path: Path) -> None:
    """A panel a measure, a bar for each of the weights with its interval."""
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
        panel.set_title(_title(cell).removeprefix(f"{cell[0]}: "), fontsize=7)
    save(figure, path)
