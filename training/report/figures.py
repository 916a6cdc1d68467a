"""The figures of a benchmark's report. Every function writes one PNG."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..run.folder.arrays import read_arrays
from ..run.pages.figures import bare, plt, save
from ..statistics.trials import Summary, summarise
from ..trials.examples import RANKS
from ..trials.task.initialisation import RANDOM, kind_of
from ..trials.task.metrics import METRICS

if TYPE_CHECKING:
    from .columns import Column


WITHOUT_DOUBTFUL = "◇ mean without test items whose reference is known to be wrong"


_OUTLINES = (("truth", "lime"), ("found", "red"))
_PLACES = ((0.05, 0.5), (0.95, 0.5), (0.5, 0.95), (0.5, 0.05))
"""Of the letters of a slice's sides, in the order in which `training.trials.examples` has them."""
_GREYS = ("0.55", "0.75", "0.35")
_COLOURFUL = (0, 1, 2, 3, 4, 5, 6, 8, 9)
"""Of matplotlib's colours, all but the grey one."""
_STYLES = ("-", "--", ":", "-.")
"""Of lines of one colour."""
_WIDE = 34
"""Letters of a line of a name."""
_FEW = 6
"""Initialisations whose names have room within a panel."""


def colours_of(inits: Iterable[str]) -> dict[str, str]:
    """One colour for each initialisation, the same in every figure: random ones are grey."""
    names = list(dict.fromkeys(inits))
    random = [init for init in names if kind_of(init) == RANDOM]
    others = [init for init in names if init not in random]
    return {init: _GREYS[number % len(_GREYS)] for number, init in enumerate(random)} | {
        init: f"C{_COLOURFUL[number % len(_COLOURFUL)]}" for number, init in enumerate(others)
    }


def bars(columns: Sequence[Column], labels: Mapping[str, str], path: Path) -> None:
    """The paper's Fig. 2: a panel per target, a bar per initialisation, with its standard deviation and trials."""
    many = len(labels) > _FEW
    size = (1.2 + (0.8 + 0.24 * len(labels) if many else 2.6) * len(columns), 5.0 if many else 3.8)
    figure, panels = plt.subplots(1, len(columns), figsize=size, squeeze=False)
    colours, alike = colours_of(labels), len({column.name for column in columns}) == 1
    together = [values for column in columns for values in _heights(column)]
    for panel, column in zip(panels[0], columns, strict=True):
        shown = [init for init in labels if init in column.values]
        for place, init in enumerate(shown):
            _bar(panel, place, column.values[init], colours[init], column.sure.get(init))
        names = ["\n".join(textwrap.wrap(labels[init], _WIDE)) for init in shown]
        panel.set_xticks(range(len(shown)), names, rotation=90 if many else 25, ha="center" if many else "right")
        panel.tick_params(axis="x", labelsize=7)
        panel.set_title("\n".join(textwrap.wrap(column.title, _WIDE)), fontsize=9)
        _zoom(panel, together if alike else _heights(column))
    save(figure, path)


def bars_2d_3d(columns: Sequence[Column], labels: Mapping[str, str], path: Path) -> None:
    """The paper's Fig. 3: a panel per task, 2D initialisations beside 3D ones."""
    tasks = sorted({column.task for column in columns})
    figure, panels = plt.subplots(1, len(tasks), figsize=(1.2 + 4.2 * len(tasks), 3.8), squeeze=False)
    colours = colours_of(labels)
    for panel, task in zip(panels[0], tasks, strict=True):
        of_task = sorted((c for c in columns if c.task == task), key=lambda c: c.settings["ndim"])
        ticks, shown, place = [], [], 0
        for column in of_task:
            for init, values in column.values.items():
                _bar(panel, place, values, colours[init], column.sure.get(init))
                ticks.append(f"{column.settings['ndim']}D: {labels[init]}")
                place += 1
            shown += _heights(column)
            place += 1
            ticks.append("")
        panel.set_xticks(range(len(ticks)), ticks, rotation=25, ha="right")
        panel.tick_params(axis="x", labelsize=7)
        panel.set_title(f"{task[0]} ({METRICS[of_task[0].settings['metric']]} %)", fontsize=9)
        _zoom(panel, shown)
    save(figure, path)


def _bar(panel: Any, place: int, values: Sequence[float], colour: str, sure: Summary | None) -> None:
    """Mean, standard deviation and trials; a diamond where the mean without doubtful references is."""
    summary = summarise(values)
    error = None if np.isnan(summary.sd) else 100 * summary.sd
    panel.bar(place, 100 * summary.mean, yerr=error, color=colour, alpha=0.7, capsize=3, width=0.7)
    spread = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [0.0]
    panel.plot(place + np.array(spread), 100 * np.array(values), ".", color="black", markersize=3)
    if sure is not None:
        panel.plot(place + 0.27, 100 * sure.mean, "D", markerfacecolor="none", color="black", markersize=4)
        panel.set_xlabel(WITHOUT_DOUBTFUL, fontsize=6)


def _heights(column: Column) -> list[Sequence[float]]:
    """All that is drawn of a column."""
    return [*column.values.values(), [sure.mean for sure in column.sure.values()]]


def _zoom(panel: Any, shown: Iterable[Sequence[float]]) -> None:
    """Bars that do not start at 0 say so: the range is that of the trials, with a margin."""
    values = 100 * np.concatenate([np.array(list(found)) for found in shown])
    margin = max(1.0, 0.35 * float(np.ptp(values)))
    panel.set_ylim(max(0.0, values.min() - margin), min(100.0, values.max() + margin))
    panel.set_ylabel("% (axis does not start at 0)" if values.min() - margin > 0 else "%", fontsize=8)


def of_several_labels(columns: Iterable[Column]) -> list[tuple[str, bool]]:
    """Targets, and whether by settings of each one's own, that were run with several amounts of labels."""
    counts = Counter((column.name, column.own) for column in columns)
    return sorted(cell for cell, count in counts.items() if count > 1)


def fraction_curves(columns: Sequence[Column], labels: Mapping[str, str], path: Path) -> None:
    """A panel per target and protocol with several amounts of labels, of which there is one: the metric over the
    labelled patients, with its 95 % interval."""
    cells = of_several_labels(columns)
    size, alike = (1.2 + 3.8 * len(cells), 3.6), len({name for name, _ in cells}) == 1
    figure, panels = plt.subplots(1, len(cells), figsize=size, squeeze=False, sharey=alike)
    colours = colours_of(labels)
    styles = _styles(colours)
    for panel, (name, own) in zip(panels[0], cells, strict=True):
        shown = sorted((c for c in columns if (c.name, c.own) == (name, own)), key=lambda c: c.patients)
        for number, init in enumerate(labels):
            found = [(c.patients, summarise(c.values[init])) for c in shown if init in c.values]
            if not found:
                continue
            line: dict[str, Any] = {"label": labels[init], "color": colours[init], "ls": styles[init]}
            means = np.array([100 * summary.mean for _, summary in found])
            ends = 100 * np.array([[s.mean - s.low, s.high - s.mean] for _, s in found]).T
            places = [count * (1 + 0.03 * (number - (len(labels) - 1) / 2)) for count, _ in found]  # side by side
            panel.errorbar(places, means, np.nan_to_num(ends), **line, capsize=3, marker="o")
        title = f"{name}, {'own' if own else 'same'} settings" if any(other for _, other in cells) else name
        panel.set(xscale="log", xlabel="labelled patients", title=title)
        ticks = sorted({column.patients for column in shown})
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
        panel.set_ylabel(f"{METRICS[shown[0].settings['metric']]} (%)")
        panel.grid(alpha=0.3)
    _legend(figure, list(panels.flat), 7)
    save(figure, path)


def learning_curves(
    curves: Mapping[str, Sequence[Sequence[Sequence[float]]]],
    metric: str,
    path: Path,
    colours: Mapping[str, str] | None = None,
    *,
    title: str,
) -> None:
    """Validation metric and training loss over the steps: mean and range of the trials of each initialisation.

    Args:
        curves: by initialisation, one list of [step, validation metric, training loss] per trial.
        colours: of the same.
        title: of the task.
    """
    colours = colours or {}
    styles = _styles({init: colours.get(init, init) for init in curves})
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.2))
    for init, trials in curves.items():
        values = np.array(trials) * (1, 100, 1)
        for panel, column in zip(panels, (1, 2), strict=True):
            low, mean, high = (f(values[:, :, column], axis=0) for f in (np.min, np.mean, np.max))
            (line,) = panel.plot(values[0, :, 0], mean, styles[init], label=init, marker=".", color=colours.get(init))
            panel.fill_between(values[0, :, 0], low, high, alpha=0.15, color=line.get_color())
            panel.set_xlabel("step")
            panel.grid(alpha=0.3)
    panels[0].set_ylabel(f"{metric} (%), validation")
    panels[1].set_ylabel("loss, training")
    figure.suptitle("\n".join(textwrap.wrap(title, 2 * _WIDE)), fontsize=9)
    _legend(figure, [panels[0]], 8)
    save(figure, path)


def _styles(colours: Mapping[str, str]) -> dict[str, str]:
    """Of the line of each initialisation: those of one colour are told apart."""
    so_far: Counter[str] = Counter()
    styles = {}
    for init, colour in colours.items():
        styles[init] = _STYLES[so_far[colour] % len(_STYLES)]
        so_far[colour] += 1
    return styles


def _legend(figure: Figure, panels: Sequence[Axes], size: int) -> None:
    """In each of the panels, or of many lines once below all of them."""
    named = [panel.get_legend_handles_labels() for panel in panels]
    lines = {name: handle for handles, names in named for handle, name in zip(handles, names, strict=True)}
    if len(lines) > _FEW:
        place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0)}
        figure.legend([*lines.values()], [*lines], ncols=3, fontsize=7, frameon=False, **place)
        return
    for panel in panels:
        panel.legend(fontsize=size)


def examples(files: Mapping[str, Path], path: Path) -> bool:
    """Best, median and worst test item (columns) of each initialisation (rows): truth green, found red.

    Returns:
        whether there was anything to draw.

    Raises:
        ReadError: a file is damaged.
    """
    read = {label: read_arrays(file) for label, file in files.items() if file.is_file()}
    there = {label: arrays for label, arrays in read.items() if _proportion(arrays)}
    if not there:
        return False
    tall = max(_proportion(arrays) for arrays in there.values())
    ranks = [rank for rank in RANKS if any(f"{rank}_image" in arrays for arrays in there.values())]
    lines = max(_title(arrays, rank).count("\n") for arrays in there.values() for rank in ranks) + 1
    size = (0.4 + 2.3 * len(ranks), (0.3 + 0.13 * lines + 2.2 * tall) * len(there) + 0.3)
    figure, panels = plt.subplots(len(there), len(ranks), figsize=size, squeeze=False)
    outlined = False
    for row, (label, arrays) in enumerate(there.items()):
        for panel, rank in zip(panels[row], ranks, strict=True):
            bare(panel)
            if row == 0:
                above = (0, 10 + 8 * lines)
                panel.annotate(rank, (0.5, 1), above, "axes fraction", "offset points", ha="center", weight="bold")
            if f"{rank}_image" not in arrays:  # there are fewer items with a score
                panel.set_frame_on(False)
                continue
            outlined |= _example(panel, arrays, rank)
        panels[row, 0].set_ylabel("\n".join(textwrap.wrap(label, 28)), fontsize=7)
    if outlined:
        drawn = [Line2D([], [], color=colour, label=kind) for kind, colour in _OUTLINES]
        place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0)}
        figure.legend(handles=drawn, ncols=2, fontsize=7, frameon=False, **place)
    save(figure, path)
    return True


def _example(panel: Axes, arrays: Mapping[str, np.ndarray], rank: str) -> bool:
    """An image, what is outlined in it, and which side is which; returns whether anything is outlined."""
    panel.imshow(arrays[f"{rank}_image"], cmap="gray", vmin=0, vmax=255)
    outlined = False
    for kind, colour in _OUTLINES:
        key = f"{rank}_{kind}"
        if key in arrays and arrays[key].any():
            for number in np.unique(arrays[key][arrays[key] > 0]):  # where classes touch, each has its own edge
                panel.contour(arrays[key] == number, levels=[0.5], colors=colour, linewidths=1)
            outlined = True
    if f"{rank}_sides" in arrays:
        for letter, (x, y) in zip(str(arrays[f"{rank}_sides"]), _PLACES, strict=True):
            panel.text(x, y, letter, transform=panel.transAxes, color="yellow", fontsize=7, ha="center", va="center")
    panel.set_title(_title(arrays, rank), fontsize=6)
    return outlined


def _title(arrays: Mapping[str, np.ndarray], rank: str) -> str:
    lines = str(arrays.get(f"{rank}_title", "")).splitlines()
    return "\n".join(part for line in lines for part in textwrap.wrap(line, 40))


def _proportion(arrays: Mapping[str, np.ndarray]) -> float:
    """Height of the tallest image, as a share of its width; 0 where there is none."""
    shapes = [array.shape for name, array in arrays.items() if name.endswith("_image")]
    return max((rows / columns for rows, columns in shapes), default=0.0)
