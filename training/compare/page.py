"""compare.html: the advice, what it rests on, and how it was measured."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from sg_hub.io.files import write_atomic

from ..report import figures as draw
from ..report.columns import Column, labels_of
from ..report.page import example_files, p_text
from ..run.pages import html
from ..statistics.trials import LEAST_FOR_INTERVAL, LEVEL, paired
from ..trials.grids.choosing import DRAWS
from ..trials.task.initialisation import RANDOM, kind_of
from ..trials.task.metrics import METRICS
from ..trials.task.surface import CENTRE_ERROR, IN_MM, SURFACE_DICE_AT
from ..trials.variant import Variant
from .advice import advice, taken
from .contrasts import Contrast, contrasts_of, primary_of, reference_of

PAGE = "compare.html"
PICTURES = "pictures"
_FAILED = 5
"""Trials that are named."""


def write_page(
    out: Path,
    columns: Sequence[Column],
    inits: Sequence[str],
    target: str,
    overrides: Sequence[str] = (),
    *,
    quick: bool = False,
    failed: Sequence[str] = (),
    refused: str = "",
) -> Path:
    """Write the page, and its pictures beside it.

    Args:
        inits: in the order in which they are shown.
        target, overrides: as they were given, for the command that is shown.
        failed: trials, and why, in lines.
        refused: why no model can be fine-tuned for the target, where that is so.
    """
    there = {init for column in columns for init in column.rows}
    inits = [init for init in inits if init in there]
    labels = names_of(inits)
    contrasts = contrasts_of(out, columns, inits)
    primary = primary_of(columns)
    title = f"Which weights for {primary.name}?"
    parts = [f"<h1>{html.text(title)}</h1>", f'<p class="advice">{html.text(advice(contrasts, columns, labels))}</p>']
    if failed:
        named = "; ".join(failed[:_FAILED]) + (f" and {len(failed) - _FAILED} more" if failed[_FAILED:] else "")
        said = f"Trials that failed: {named}. Of their cells, trials of the same numbers are left out for all."
        parts.append(f"<p>{html.text(said)}</p>")
    if quick:
        parts.append("<p>A first look: few trials, of a quarter of the steps. Without --quick it says more.</p>")
    if refused:
        parts.append(f"<p>There is no command that fine-tunes one of them: {html.text(refused)}</p>")
    else:
        parts.append(_command(primary, taken(contrasts, primary, inits), target, overrides, labels))
    parts += [
        "<h2>What was reached</h2>",
        _means(columns, labels),
        _in_mm(columns, labels),
        *_pictures(out, columns, labels),
    ]
    parts += ["<h2>What differs</h2>", *_differences(contrasts, primary, labels, failed)]
    if any(column.own for column in columns):
        parts += ["<h2>Settings that were chosen</h2>", _chosen(columns, labels)]
    parts += ["<h2>What it costs</h2>", _costs(primary, labels), "<h2>How it was measured</h2>", *_about(columns)]
    write_atomic(out / PAGE, html.page(title, parts, html.STYLE + html.TABLES))
    return out / PAGE


def names_of(inits: Sequence[str]) -> dict[str, str]:
    """What initialisations are called: a random network that is the only one needs no name beside it."""
    random = [init for init in inits if kind_of(init) == RANDOM]
    return labels_of(inits) | ({random[0]: "random"} if len(random) == 1 else {})


def _command(primary: Column, init: str, target: str, overrides: Sequence[str], labels: Mapping[str, str]) -> str:
    """How to fine-tune what the advice takes."""
    own = primary.rows[init][0].get("own")
    chosen = Variant(**own).overrides(primary.settings["settings"]) if own else []
    given = ["--init", init, "--target", target, "--out", "my-model", *overrides, *chosen]
    command = html.text(f"sg-hub finetune {shlex.join(given)}")
    return f"<p>To fine-tune {html.text(labels[init])} with these settings: <code>{command}</code></p>"


def _title(column: Column) -> str:
    """Of a cell."""
    patients = f"{column.patients} labelled patient{'s' if column.patients > 1 else ''}"
    return f"{patients}{' (all)' if column.whole else ''}, {'own' if column.own else 'same'} settings"


def _means(columns: Sequence[Column], labels: Mapping[str, str]) -> str:
    rows = []
    for column in sorted(columns, key=lambda column: (column.own, column.patients)):
        cells = []
        for init in labels:
            summary = column.summaries.get(init)
            if summary is None:
                cells.append("")
                continue
            interval = "" if math.isnan(summary.low) else f" ({summary.low:.3f} to {summary.high:.3f})"
            cells.append(f"{summary.mean:.3f}{interval}")
        rows.append([_title(column), *cells])
    metric = METRICS[columns[0].settings["metric"]]
    return html.table([f"{metric} on the test part, mean (95 % interval over trials)", *labels.values()], rows)


def _in_mm(columns: Sequence[Column], labels: Mapping[str, str]) -> str:
    """Surfaces, with p of the paired test against the reference, and centres; empty where they are not known."""
    reference = reference_of([*labels])
    rows = []
    for column in sorted(columns, key=lambda column: (column.own, column.patients)):
        for name in (name for name in IN_MM if name in column.in_mm):
            found, cells = column.in_mm[name], []
            for init in labels:
                if init not in found:
                    cells.append("")
                    continue
                mean = sum(found[init].values()) / len(found[init])
                if name == CENTRE_ERROR:  # not tested: each mean is of what that network found
                    cells.append(f"{mean:.1f} mm")
                    continue
                p = paired(found[init], found[reference]).p if reference in found and init != reference else math.nan
                cells.append(f"{mean:.3f}" + ("" if math.isnan(p) else f" (p {p_text(p)})"))
            rows.append([_title(column), name if name == CENTRE_ERROR else SURFACE_DICE_AT, *cells])
    if not rows:
        return ""
    about = (
        f"Of all test items. p is of the paired test against {html.text(labels[reference])}, not corrected. A class "
        "that is in one of the masks only has surfaces that do not agree, and no distance of centres: a network that "
        "misses what is hard looks better by that."
    )
    return html.table(["cell", "surfaces and centres, mean", *labels.values()], rows) + f"<p>{about}</p>"


def _pictures(out: Path, columns: Sequence[Column], labels: Mapping[str, str]) -> list[str]:
    folder, primary, colours = out / PICTURES, primary_of(columns), draw.colours_of(labels)
    folder.mkdir(parents=True, exist_ok=True)
    at_most = [column for column in columns if column.patients == primary.patients]
    draw.bars(at_most, labels, folder / "bars.png")
    found = [("bars.png", "On the test part: a bar is the mean, a line its standard deviation, a dot a trial.")]
    if len({column.patients for column in columns}) > 1 and draw.of_several_labels(columns):
        draw.fraction_curves(columns, labels, folder / "labels.png")
        found.append(("labels.png", "With fewer labels: mean and 95 % interval over the trials."))
    for column in sorted(columns, key=lambda column: (column.own, -column.patients)):
        name = f"curves-{column.slug}.png"
        curves = {labels[init]: [row["curve"] for row in column.rows[init]] for init in labels if init in column.rows}
        named = {labels[init]: colours[init] for init in labels}
        metric = METRICS[column.settings["metric"]]
        draw.learning_curves(curves, metric, folder / name, named, title=f"{column.name}, {_title(column)}")
        found.append((name, f"{_title(column)}: validation and training over the steps, mean and range of the trials."))
    if draw.examples(example_files(out, primary, labels), folder / "examples.png"):
        found.append(("examples.png", f"{_title(primary)}: test items of the first trial."))
    return [html.picture(folder / name, caption) for name, caption in found]


def _named(failed: Sequence[str]) -> str:
    """Since when it is known which cell the advice is about."""
    if failed:
        return "of those that are left of the trials that failed the one with most labels, and own settings first"
    return "which was named before anything was run"


def _differences(
    contrasts: Sequence[Contrast], primary: Column, labels: Mapping[str, str], failed: Sequence[str]
) -> list[str]:
    rows = []
    for one in contrasts:
        gap, over = one.paired, one.over_patients
        effect = "" if math.isnan(gap.effect) else f"{gap.effect:.1f} ({gap.effect_low:.1f} to {gap.effect_high:.1f})"
        rows.append(
            [
                _title(one.column),
                f"{labels[one.one]} - {labels[one.other]}",
                "" if math.isnan(gap.difference) else f"{gap.difference:+.3f}{_interval(gap.low, gap.high)}",
                p_text(one.holm),
                p_text(gap.p),
                p_text(one.welch.p),
                effect,
                "" if over is None else _interval(over.low, over.high).strip(" ()"),
            ]
        )
    header = ["cell", "difference of", "mean (95 % interval)", "p (Holm)", "p paired", "p Welch", "effect"]
    about = (
        f"Paired: trials of one number share seed, batches and labelled patients. p (Holm) is of the paired t-test, "
        f"corrected for all {len(contrasts)} lines; below {LEVEL:g} it counts as a difference. Welch's test is not "
        "paired, nor corrected. The effect is the mean difference in standard deviations of the trials' differences. "
        f"The advice rests on the cell {_title(primary)!r}, {_named(failed)}."
    )
    if any(one.over_patients for one in contrasts):
        header.append("interval over patients and trials")
        about += " The last column is a bootstrap of patients and trials at once: what other patients would have given."
    else:
        rows = [row[:-1] for row in rows]
    return [html.table(header, rows), f"<p>{html.text(about)}</p>"]


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" ({low:+.3f} to {high:+.3f})"


def _chosen(columns: Sequence[Column], labels: Mapping[str, str]) -> str:
    rows = []
    for column in sorted((column for column in columns if column.own), key=lambda column: column.patients):
        shown = [init for init in labels if init in column.rows]
        rows += [[_title(column), labels[init], Variant(**column.rows[init][0]["own"])] for init in shown]
    return html.table(["cell", "initialisation", "settings"], rows)


def _costs(primary: Column, labels: Mapping[str, str]) -> str:
    rows = []
    for init, label in labels.items():
        costs = [row["cost"] for row in primary.rows.get(init, ()) if row.get("cost")]
        if not costs:
            continue
        step, item = (min(cost[name] for cost in costs) for name in ("seconds_a_step", "seconds_an_item"))
        minutes = min(row["minutes"] for row in primary.rows[init])
        rows.append([label, f"{costs[0]['parameters']:,}", f"{step:.3g} s", f"{item:.3g} s", f"{minutes:.1f} min"])
    machines = sorted({row["machine"] for found in primary.rows.values() for row in found})
    header = ["", "parameters", "a training step", "a prediction", "a trial"]
    return html.table(header, rows) + f"<p>Of the quickest trial, on {html.text(' and on '.join(machines))}.</p>"


def _about(columns: Sequence[Column]) -> list[str]:
    primary = primary_of(columns)
    first = next(iter(primary.rows.values()))[0]
    training, parts = primary.settings["settings"], first["patients"]
    last = training.get("keep") == "last"
    said = [
        f"{primary.about} {primary.settings['description']}".strip(),
        f"Patients: {parts['train']} to train on, {parts['validation']} to choose on, {parts['test']} to test on; of "
        "the "
        "test part nothing was read before the end of a trial. Few labels are of the training patients alone: a "
        "choice on "
        "as many validation patients is better than few labels would allow.",
        f"Same settings: {training['steps']} steps of {training['batch_size']}, rate {training['lr']:g}, for all; "
        f"{'the last step' if last else 'the step that did best on the validation patients'} is kept.",
    ]
    if any(column.own for column in columns):
        said.append(
            "Own settings: each initialisation, random too, is run with the same set (rate x 1, 0.3, 0.1; plain, or "
            "with "
            "the encoder frozen for the first 30 % of the steps) for a third of the steps, and the best two for all; "
            f"these and the best third with {DRAWS} draws of labels, by seeds of no trial. What reaches most in their "
            "mean, on the validation patients where its schedule ends, is taken, for each number of labels anew; its "
            "last step is kept."
        )
    doubtful = "; ".join(f"{item}: {why}" for item, why in primary.doubtful.items())
    if doubtful:
        said.append(f"Test items whose reference is known to be wrong: {doubtful}. Diamonds are means without them.")
    unchecked = {row["unchecked"] for rows in primary.rows.values() for row in rows if row["unchecked"]}
    said += [f"Whether test patients were in a pre-training cannot be told: {why}." for why in sorted(unchecked)]
    fewest = min(len(rows) for column in columns for rows in column.rows.values())
    if fewest < LEAST_FOR_INTERVAL:
        said.append(
            f"Fewer than {LEAST_FOR_INTERVAL} trials of one of them: no interval, no test, and none is the best."
        )
    return [f"<p>{html.text(line)}</p>" for line in said if line]
