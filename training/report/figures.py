"""The figures of a benchmark's report. Every function writes one PNG."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..run.arrays import read_arrays
from ..run.figures import plt, save
from ..trials.examples import RANKS
from .statistics import Summary, summarise

if TYPE_CHECKING:
    from .columns import Column


WITHOUT_DOUBTFUL = "◇ mean without test items whose reference is known to be wrong"


def _colours(labels: Mapping[str, str]) -> dict[str, str]:
    return {init: f"C{number}" for number, init in enumerate(labels)}


def bars(columns: Sequence[Column], labels: Mapping[str, str], path: Path) -> None:
    """The paper's Fig. 2: a panel per target, a bar per initialisation, with its standard deviation and trials."""
    figure, panels = plt.subplots(1, len(columns), figsize=(1.2 + 2.6 * len(columns), 3.8), squeeze=False)
    colours = _colours(labels)
    for panel, column in zip(panels[0], columns, strict=True):
        for place, (init, values) in enumerate(column.values.items()):
            _bar(panel, place, values, colours[init], column.sure.get(init))
        panel.set_xticks(range(len(column.values)), [labels[init] for init in column.values], rotation=25, ha="right")
        panel.tick_params(axis="x", labelsize=7)
        panel.set_title(column.title, fontsize=9)
        _zoom(panel, column.values.values())
    save(figure, path)


def bars_2d_3d(columns: Sequence[Column], labels: Mapping[str, str], path: Path) -> None:
    """The paper's Fig. 3: a panel per task, 2D initialisations beside 3D ones."""
    tasks = sorted({column.task for column in columns})
    figure, panels = plt.subplots(1, len(tasks), figsize=(1.2 + 4.2 * len(tasks), 3.8), squeeze=False)
    colours = _colours(labels)
    for panel, task in zip(panels[0], tasks, strict=True):
        of_task = sorted((c for c in columns if c.task == task), key=lambda c: c.settings["ndim"])
        ticks, shown, place = [], [], 0
        for column in of_task:
            for init, values in column.values.items():
                _bar(panel, place, values, colours[init], column.sure.get(init))
                ticks.append(f"{column.settings['ndim']}D: {labels[init]}")
                shown.append(values)
                place += 1
            place += 1
            ticks.append("")
        panel.set_xticks(range(len(ticks)), ticks, rotation=25, ha="right")
        panel.tick_params(axis="x", labelsize=7)
        panel.set_title(f"{task[0]} ({of_task[0].settings['metric']}, %)", fontsize=9)
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


def _zoom(panel: Any, shown: Iterable[Sequence[float]]) -> None:
    """Bars that do not start at 0 say so: the range is that of the trials, with a margin."""
    values = 100 * np.concatenate([np.array(list(found)) for found in shown])
    margin = max(1.0, 0.35 * float(np.ptp(values)))
    panel.set_ylim(max(0.0, values.min() - margin), min(100.0, values.max() + margin))
    panel.set_ylabel("% (axis does not start at 0)" if values.min() - margin > 0 else "%", fontsize=8)


def fraction_curves(columns: Sequence[Column], labels: Mapping[str, str], path: Path) -> None:
    """A panel per target with several: the metric over the share of the labels, with its 95 % interval."""
    shares = Counter(column.name for column in columns)
    names = sorted(name for name, count in shares.items() if count > 1)
    figure, panels = plt.subplots(1, len(names), figsize=(1.2 + 3.4 * len(names), 3.4), squeeze=False)
    colours = _colours(labels)
    for panel, name in zip(panels[0], names, strict=True):
        of_target = sorted((c for c in columns if c.name == name), key=lambda c: c.fraction)
        for init in labels:
            found = [(c.fraction, summarise(c.values[init])) for c in of_target if init in c.values]
            if not found:
                continue
            means = np.array([100 * summary.mean for _, summary in found])
            ends = 100 * np.array([[s.mean - s.low, s.high - s.mean] for _, s in found]).T
            places = [100 * fraction for fraction, _ in found]
            panel.errorbar(
                places, means, np.nan_to_num(ends), label=labels[init], color=colours[init], capsize=3, marker="o"
            )
        panel.set(xscale="log", xlabel="training patients with labels (%)", title=name)
        ticks = sorted({100 * column.fraction for column in of_target})
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.minorticks_off()
        panel.set_ylabel(f"{of_target[0].settings['metric']} (%)")
        panel.legend(fontsize=7)
    save(figure, path)


def learning_curves(curves: Mapping[str, Sequence[Sequence[Sequence[float]]]], metric: str, path: Path) -> None:
    """Validation metric and training loss over the steps: mean and range of the trials of each initialisation.

    Args:
        curves: by initialisation, one list of [step, validation metric, training loss] per trial.
    """
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.2))
    for init, trials in curves.items():
        values = np.array(trials)
        for panel, column in zip(panels, (1, 2), strict=True):
            low, mean, high = (f(values[:, :, column], axis=0) for f in (np.min, np.mean, np.max))
            (line,) = panel.plot(values[0, :, 0], mean, label=init, marker=".")
            panel.fill_between(values[0, :, 0], low, high, alpha=0.15, color=line.get_color())
            panel.set_xlabel("step")
    panels[0].set_ylabel(f"{metric}, validation")
    panels[1].set_ylabel("loss, training")
    panels[0].legend(fontsize=8)
    save(figure, path)


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
    figure, panels = plt.subplots(len(there), 3, figsize=(7, (0.5 + 2.2 * tall) * len(there)), squeeze=False)
    for row, (label, arrays) in enumerate(there.items()):
        for panel, rank in zip(panels[row], RANKS, strict=True):
            panel.set_xticks([])
            panel.set_yticks([])
            if f"{rank}_image" not in arrays:  # there are fewer items with a score
                panel.set_frame_on(False)
                continue
            panel.imshow(arrays[f"{rank}_image"], cmap="gray", vmin=0, vmax=255)
            for kind, colour in (("truth", "lime"), ("found", "red")):
                key = f"{rank}_{kind}"
                if key in arrays and arrays[key].any():
                    panel.contour(arrays[key] > 0, levels=[0.5], colors=colour, linewidths=1)
            lines = f"{rank}: {arrays[f'{rank}_title']}".splitlines()
            panel.set_title("\n".join(part for line in lines for part in textwrap.wrap(line, 44)), fontsize=6)
        panels[row, 0].set_ylabel(label, fontsize=7)
    save(figure, path)
    return True


def _proportion(arrays: Mapping[str, np.ndarray]) -> float:
    """Height of the tallest image, as a share of its width; 0 where there is none."""
    shapes = [array.shape for name, array in arrays.items() if name.endswith("_image")]
    return max((rows / columns for rows, columns in shapes), default=0.0)
