"""The page of a grid: what each method learned, what its weights are worth, and what semantics add."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sg_hub.io.files import write_atomic

from ..methods.registry import method_of
from ..report.page import p_text
from ..run.figures import plt, save
from ..run.recipe import Recipe
from ..run.record import read_json, recorded
from ..statistics.trials import holm
from ..trials.task.initialisation import RANDOM
from .measures import Gap, Measure, Value
from .recipe import GridRecipe

PAGE, FIGURE = "methods.md", "methods.png"


def write_page(
    grid: GridRecipe, recipes: Mapping[str, Recipe], made: Sequence[str], measures: Sequence[Measure], out: Path
) -> Path:
    """Write the page and its figure of what is there.

    Args:
        recipes: by cell.
        made: cells whose weights are there.
        measures: by the names of cells, and RANDOM.
    """
    lines = [f"# Pre-training methods: {grid.name}", ""]
    if missing := [name for name in recipes if name not in made]:
        lines += [f"Not there yet: {', '.join(missing)}.", ""]
    lines += _learned({name: recipes[name] for name in recipes if name in made})
    values = {measure: measure.values() for measure in measures}
    names = [name for name in (RANDOM, *recipes) if any(name in found for found in values.values())]
    if names:
        lines += _worth(grid, values, names)
        lines += _gaps("What semantics add", measures, grid.pairs)
        lines += _gaps("Against random", measures, [(name, RANDOM) for name in recipes])
        _figure(values, names, out / FIGURE)
        lines += [f"![Every measure of every method]({FIGURE})", ""]
    write_atomic(out / PAGE, "\n".join(lines))
    return out / PAGE


def _learned(recipes: Mapping[str, Recipe]) -> list[str]:
    """A table of the pre-trainings."""
    lines = ["## What each has learned", ""]
    evaluated = {name: read_json(recipe.run_dir / "evaluation.json", "evaluate") for name, recipe in recipes.items()}
    unseen = all(found["split"] == "test" for found in evaluated.values())
    lines += [
        f"On patients whom {'neither training nor early stopping has' if unseen else 'training has not'} seen.",
        "",
    ]
    lines += ["| | semantics | cubes | minutes | measured | value | to be held against |", "|---" * 7 + "|"]
    cubes = set()
    for name, recipe in recipes.items():
        method, record = method_of(recipe), recorded(recipe, "pretrain")
        seen = record.get("epochs", 0) * record.get("cubes_per_epoch", 0)
        cubes.add(seen)
        first = [name, "yes" if method.needs == "patterns" else "no", str(seen), f"{record.get('minutes', math.nan):g}"]
        for result in method.results(evaluated[name]):
            held = "" if result.compare is None else f"{result.compare:.4g} ({result.compared})"
            lines.append(f"| {' | '.join(first)} | {result.name} | {result.value:.4g} | {held} |")
            first = [""] * 4
    lines.append("")
    if len(cubes) > 1:
        lines += ["They have not seen equal numbers of cubes: they cannot be compared as they are.", ""]
    return lines


def _worth(grid: GridRecipe, values: Mapping[Measure, dict[str, Value]], names: Sequence[str]) -> list[str]:
    """A table of all measures: a line for each of the weights."""
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
    for name in names:
        cells = [_cell(measure, found.get(name)) for measure, found in values.items()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def _gaps(title: str, measures: Sequence[Measure], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """A table of what pairs differ by, whose tests are one family."""
    found: dict[tuple[Measure, str, str], Gap] = {}
    for measure in measures:
        for one, other in pairs:
            if (gap := measure.gap(one, other)) is not None:
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
        lines.append(f"| {_title(measure)} | {one} | {other} | {span} | {tests} |")
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
    digits = {"mm": 1, "%": 2}.get(measure.unit, 3)
    return f"{value:{sign}.{digits}f}"


def _figure(values: Mapping[Measure, dict[str, Value]], names: Sequence[str], path: Path) -> None:
    """A panel for each measure, a line for each of the weights."""
    size = (2.2 + 2.6 * len(values), 1.2 + 0.24 * len(names))
    figure, panels = plt.subplots(1, len(values), figsize=size, sharey=True, squeeze=False)
    for panel, (measure, found) in zip(panels[0], values.items(), strict=True):
        for place, name in enumerate(names):
            if name not in found:
                continue
            one: Any = found[name]
            ends = [[0.0], [0.0]] if math.isnan(one.low) else [[one.value - one.low], [one.high - one.value]]
            panel.errorbar(one.value, place, xerr=ends, fmt="o", color="gray" if name == RANDOM else "C0", capsize=2)
        panel.set_title(_title(measure), fontsize=7)
        panel.tick_params(labelsize=7)
        panel.grid(axis="x", alpha=0.3)
    panels[0][0].set_yticks(range(len(names)), names)
    panels[0][0].invert_yaxis()
    save(figure, path)
