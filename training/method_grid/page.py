"""The page of a grid: what each method learned, what its weights are worth, and what semantics add."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sg_hub.io.files import write_atomic

from ..methods.protocol import Result
from ..methods.registry import method_of
from ..report.page import p_text
from ..run.folder.record import recorded
from ..run.pages.figures import plt, save
from ..run.recipe import Recipe
from ..statistics.trials import holm
from ..trials.task.initialisation import RANDOM
from .measures import Gap, Measure, Value
from .recipe import GridRecipe

PAGE, FIGURE = "methods.md", "methods.png"
_ACROSS = 4
"""Panels beside each other."""


def write_page(
    grid: GridRecipe,
    recipes: Mapping[str, Recipe],
    made: Sequence[str],
    measures: Sequence[Measure],
    out: Path,
    notes: Sequence[str] = (),
) -> Path:
    """Write the page and its figure of what is there.

    Args:
        recipes: by cell.
        made: cells whose weights are there.
        measures: by the names of cells, and RANDOM.
        notes: what else is to be known of it, a sentence each.
    """
    lines = [f"# Pre-training methods: {grid.name}", ""]
    if missing := [name for name in recipes if name not in made]:
        lines += [f"Not there yet: {', '.join(missing)}.", ""]
    lines += [line for note in notes for line in (note, "")]
    seen = {name: cubes for name in made if (cubes := _cubes(recipes[name]))}
    usual = max(seen.values(), key=[*seen.values()].count, default=0)
    apart = {name: cubes for name, cubes in seen.items() if cubes != usual}
    lines += _learned({name: recipes[name] for name in recipes if name in made}, seen)
    if apart:
        lines += [
            f"**Not comparable**: {', '.join(f'{name} has seen {cubes} cubes' for name, cubes in apart.items())}, the "
            f"others {usual}. What differs below may come from that alone; where semantics are added, only cells with "
            "equal numbers are held against each other.",
            "",
        ]
    values = {measure: measure.values() for measure in measures}
    names = [name for name in (RANDOM, *recipes) if any(name in found for found in values.values())]
    labels = {name: f"{name} ({apart[name]} cubes)" if name in apart else name for name in names}
    if names:
        pairs = [
            (one, other) for one, other in grid.pairs if len({seen[name] for name in (one, other) if name in seen}) < 2
        ]
        lines += _worth(grid, values, labels)
        lines += _gaps("What semantics add", measures, pairs, labels)
        lines += _gaps("Against random", measures, [(name, RANDOM) for name in recipes], labels)
        _figure(values, labels, out / FIGURE)
        lines += [f"![Every measure of every method]({FIGURE})", ""]
    write_atomic(out / PAGE, "\n".join(lines))
    return out / PAGE


def _cubes(recipe: Recipe) -> int:
    """That a pre-training has seen; 0 where it is not recorded."""
    record = recorded(recipe, "pretrain")
    return int(record.get("epochs", 0) * record.get("cubes_per_epoch", 0))


def _learned(recipes: Mapping[str, Recipe], seen: Mapping[str, int]) -> list[str]:
    """A table of the pre-trainings.

    Args:
        seen: numbers of cubes, as far as they are known.
    """
    lines = ["## What each has learned", ""]
    evaluated = {name: found for name, recipe in recipes.items() if (found := recorded(recipe, "evaluation"))}
    unseen = all(found.get("split") == "test" for found in evaluated.values())
    lines += [
        f"On patients whom {'neither training nor early stopping has' if unseen else 'training has not'} seen.",
        "",
    ]
    lines += ["| | semantics | cubes | minutes | measured | value | to be held against |", "|---" * 7 + "|"]
    for name, recipe in recipes.items():
        method, record = method_of(recipe), recorded(recipe, "pretrain")
        minutes = f"{record['minutes']:g}" if "minutes" in record else ""
        first = [name, "yes" if method.needs == "patterns" else "no", str(seen.get(name, "")), minutes]
        results = _results(recipe, evaluated.get(name, {}))
        if not results:
            lines.append(f"| {' | '.join(first)} | not evaluated yet | | |")
        for result in results:
            held = "" if result.compare is None else f"{result.compare:.4g} ({result.compared})"
            lines.append(f"| {' | '.join(first)} | {result.name} | {result.value:.4g} | {held} |")
            first = [""] * 4
    return [*lines, ""]


def _results(recipe: Recipe, evaluation: Mapping[str, Any]) -> Sequence[Result]:
    """What an evaluation says; nothing where there is none, or one of the cell's former method."""
    try:
        return method_of(recipe).results(dict(evaluation))
    except KeyError:
        return []


def _worth(grid: GridRecipe, values: Mapping[Measure, dict[str, Value]], labels: Mapping[str, str]) -> list[str]:
    """A table of all measures: a line for each of the weights.

    Args:
        labels: what the weights are called, by name.
    """
    lines = ["## What they are worth", ""]
    if grid.worth:
        whose = "All" if grid.worth.calibrate else "Random"
        lines += [
            f"Without fine-tuning, on {grid.worth.target}: without labels (landmarks: median over patients) and frozen "
            f"(linear probes: mean); the interval is of a bootstrap of patients. {whose} networks have the statistics "
            "of clean patches there.",
            "",
        ]
    if grid.trials:
        lines += ["Fine-tuned: mean of the trials, and Student's interval. All intervals are of 95 %.", ""]
    lines += [
        "| | " + " | ".join(map(_title, values)) + " |",
        "|---" * (len(values) + 1) + "|",
    ]
    for name, label in labels.items():
        cells = [_cell(measure, found.get(name)) for measure, found in values.items()]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return [*lines, ""]


def _gaps(
    title: str, measures: Sequence[Measure], pairs: Sequence[tuple[str, str]], labels: Mapping[str, str]
) -> list[str]:
    """A table of what pairs differ by, whose tests are one family."""
    found: dict[tuple[Measure, str, str], Gap] = {}
    for measure in measures:
        for one, other in pairs:
            gap = measure.gap(one, other, len(measures) * len(pairs))
            if gap is not None and not math.isnan(gap.value):
                found[measure, one, other] = gap
    if not found:
        return []
    corrected = holm({key: gap.main for key, gap in found.items()})
    lines = [
        f"## {title}",
        "",
        "The first minus the second, and the 95 % interval. p (paired) is of the same patients (bootstrap) or trials "
        "of the same number (t-test); p (Holm) is corrected for all lines of this table: of trials Welch's, else the "
        "paired one.",
        "",
        "| | first | second | difference | p (paired) | p (Welch) | p (Holm) |",
        "|---" * 7 + "|",
    ]
    for (measure, one, other), gap in found.items():
        low, high = (_number(measure, end, "+") for end in (gap.low, gap.high))
        span = _number(measure, gap.value, "+") + ("" if math.isnan(gap.low) else f" ({low} to {high})")
        tests = " | ".join(map(p_text, (gap.paired, gap.welch, corrected[measure, one, other])))
        lines.append(f"| {_title(measure)} | {labels[one]} | {labels[other]} | {span} | {tests} |")
    return [*lines, ""]


def _title(measure: Measure) -> str:
    about = ", ".join(filter(None, (measure.unit, "lower is better" if measure.lower_is_better else "")))
    return f"{measure.title} ({about})" if about else measure.title


def _cell(measure: Measure, found: Value | None) -> str:
    if found is None:
        return ""
    text = _number(measure, found.value)
    if not math.isnan(found.low):
        text += f" ({_number(measure, found.low)} to {_number(measure, found.high)})"
    return f"{text}, {found.trials} trials" if found.trials else text


def _number(measure: Measure, value: float, sign: str = "") -> str:
    if math.isnan(value):
        return "-"
    digits = {"mm": 1, "%": 2}.get(measure.unit, 3)
    return f"{value:{sign}.{digits}f}"


def _figure(values: Mapping[Measure, dict[str, Value]], labels: Mapping[str, str], path: Path) -> None:
    """A panel for each measure, a line for each of the weights."""
    across = min(len(values), _ACROSS)
    down = -(-len(values) // across)
    names = ["\n".join(textwrap.wrap(label, 36)) for label in labels.values()]
    lines = sum(name.count("\n") + 1 for name in names)
    size = (2.6 + 2.6 * across, down * (1.2 + 0.24 * lines))
    figure, panels = plt.subplots(down, across, figsize=size, sharey=True, squeeze=False)
    for panel in panels.flat[len(values) :]:
        panel.set_visible(False)
    for panel, (measure, found) in zip(panels.flat, values.items(), strict=False):
        for place, name in enumerate(labels):
            if name not in found or math.isnan(found[name].value):
                continue
            one: Any = found[name]
            # of few patients, the interval of a bootstrap may leave the value itself out
            gaps = (one.value - one.low, one.high - one.value)
            ends = [[0.0 if math.isnan(gap) else max(0.0, gap)] for gap in gaps]
            panel.errorbar(one.value, place, xerr=ends, fmt="o", color="gray" if name == RANDOM else "C0", capsize=2)
        panel.set_title("\n".join(textwrap.wrap(_title(measure), 44)), fontsize=7)
        panel.tick_params(labelsize=7)
        panel.grid(axis="x", alpha=0.3)
    panels[0][0].set_yticks(range(len(names)), names)
    panels[0][0].set_ylim(len(names) - 0.5, -0.5)
    save(figure, path)
