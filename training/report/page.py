"""The page of a report, and its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from ..run.folder.environment import NO_BFLOAT16
from ..run.pages import markdown
from ..statistics.trials import LEAST_FOR_INTERVAL, LEVEL
from ..trials.grids.results import Row
from ..trials.task.metrics import METRICS
from ..trials.task.surface import SURFACE_DICE, SURFACE_DICE_AT
from ..trials.trial import late_rise
from ..trials.variant import Variant
from . import figures as draw
from .columns import Column, inits_of, labels_of
from .reported import reported
from .tables import MARK, markdown_table, percent

_HEADER = (
    *("initialisation", "trials", "mean", "sd", "95 % CI"),
    *("p Welch", "p Holm", "p plain", "p paired", "effect", "late rise"),
)


_PICTURES = ("bars_2d_3d.png", "fractions.png", "curves-*.png", "examples-*.png")
"""Those that not every report has."""


def draw_figures(folder: Path, out: Path, columns: list[Column], whole: list[Column]) -> list[tuple[str, str]]:
    """Draw everything, and remove what an earlier report drew that this one does not; captions and file names."""
    out.mkdir(parents=True, exist_ok=True)
    labels = labels_of(inits_of(columns))
    doubtful = f"; {draw.WITHOUT_DOUBTFUL}" if any(column.sure for column in whole) else ""
    figures = [(f"Mean and standard deviation over the trials (Fig. 2 of the paper){doubtful}", "bars.png")]
    colours = draw.colours_of(labels)
    draw.bars(whole, labels, out / "bars.png")
    dimensions: dict[tuple[str, ...], set[int]] = {}
    for column in whole:
        dimensions.setdefault(column.task, set()).add(column.settings["ndim"])
    both = [column for column in whole if len(dimensions[column.task]) > 1]
    if both:
        draw.bars_2d_3d(both, labels, out / "bars_2d_3d.png")
        figures.append(("The same task in 2D, slice by slice, and in 3D (Fig. 3)", "bars_2d_3d.png"))
    if draw.of_several_labels(columns):
        draw.fraction_curves(columns, labels, out / "fractions.png")
        figures.append(("With fewer labels: mean and 95 % confidence interval", "fractions.png"))
    for column in columns:
        name = f"curves-{column.slug}.png"
        curves = {labels[init]: [row["curve"] for row in rows] for init, rows in column.rows.items()}
        metric = METRICS[column.settings["metric"]]
        named = {labels[init]: colours[init] for init in column.rows}
        draw.learning_curves(curves, metric, out / name, named, title=column.cell)
        figures.append((f"{column.cell}: validation and training over the steps, mean and range of the trials", name))
        name = f"examples-{column.slug}.png"
        if column in whole and draw.examples(example_files(folder, column, labels), out / name):
            figures.append((f"{column.cell}: best, median and worst test item of the first trial", name))
    drawn = {name for _, name in figures}
    for path in (path for pattern in _PICTURES for path in out.glob(pattern) if path.name not in drawn):
        path.unlink()
    return figures


def example_files(folder: Path, column: Column, labels: Mapping[str, str]) -> dict[str, Path]:
    """The pictures of the first trial of each initialisation, by what it is called."""
    first = {init: column.rows[init][0]["key"] for init in labels if init in column.rows}
    return {labels[init]: folder / "trials" / key / "examples.npz" for init, key in first.items()}


def build_page(columns: list[Column], whole: list[Column], figures: list[tuple[str, str]]) -> str:
    lines = ["# Target tasks", "", "## Measured here", "", markdown_table(whole), ""]
    lines += [
        f"Mean ± standard deviation over the trials, in %; the best of a column is bold. {MARK}: not significantly "
        f"different from it (two-sample t-test, equal variances not assumed, Holm's correction, p ≥ {LEVEL:g}). The "
        "plain t-test of the paper, without correction, and confidence intervals (Student's t, cut off at 0 and 100 %; "
        f"from {LEAST_FOR_INTERVAL} trials on) are below and in `table.csv`; paired: against the best, trial by trial, "
        "for trials of one number share seed, batches and labelled patients; effect: the mean of these differences in "
        "their standard deviations, with its 95 % interval; late rise: what the validation metric rose by from the "
        "last validation within three quarters of the steps to the end, near 0 where training had converged. The "
        "settings "
        f"of a target are the same for every initialisation; {_kept(columns)}, and the test part was read once, at the "
        "end of a trial. A label fraction is of the training patients alone." + _own(columns),
        "",
    ]
    labels = labels_of(inits_of(columns))
    for column in columns:
        lines += _section(column, labels)
    lines += ["## Figures", ""]
    for caption, name in figures:
        lines += [f"{caption}:", "", markdown.picture(caption, name), ""]
    lines += _reported(whole)
    return "\n".join(lines)


def _kept(columns: list[Column]) -> str:
    """Which weights of a training were tested."""
    ways = {column.keeps_last for column in columns if not column.own} or {True}
    best = "the checkpoint was chosen on the validation part"
    if len(ways) > 1:
        named = ", ".join(dict.fromkeys(column.name for column in columns if column.keeps_last and not column.own))
        return f"{best} (of {named}: the last step was kept)"
    return "the last step was kept" if ways == {True} else best


def _own(columns: list[Column]) -> str:
    if not any(column.own for column in columns):
        return ""
    return (
        " Own settings: each initialisation, random ones too, has those of one small set (rate, frozen encoder first, "
        "steps) that reached most at the end of their schedule on the validation patients."
    )


def _section(column: Column, labels: Mapping[str, str]) -> list[str]:
    """What a target is, and every figure of it."""
    settings, first = column.settings, next(iter(column.rows.values()))[0]
    training = settings["settings"]
    parts = ", ".join(
        f"{part} {first['items'][part]} items of {first['patients'][part]} patients"
        for part in ("train", "validation", "test")
    )
    minutes = sum(row["minutes"] for rows in column.rows.values() for row in rows)
    count = sum(len(rows) for rows in column.rows.values())
    machines = sorted({row["machine"] for rows in column.rows.values() for row in rows})
    precision = training["precision"]
    if precision == "bfloat16" and (without := sum(NO_BFLOAT16 in machine for machine in machines)):
        precision = "float32" if without == len(machines) else "bfloat16, and float32 on machines without it"
    lines = [
        f"### {column.title}",
        "",
        f"{column.about} {settings['description'] if column.whole else ''}".strip(),
        "",
        f"{parts}. {training['steps']} steps of {training['batch_size']}, learning rate {training['lr']:g}, "
        f"{precision}. {count} trials by protocol {first['protocol']}, {minutes:.1f} minutes in all, on "
        f"{' and on '.join(machines)}.",
    ]
    if column.own:
        variants = (f"{labels[init]}: {Variant(**rows[0]['own'])}" for init, rows in column.rows.items())
        lines.append(f"Of these settings each had its own: {'; '.join(variants)}.")
    lines += _notes(column, labels)
    if not column.has_winner and len(column.rows) > 1:
        lines.append(
            f"Fewer than {LEAST_FOR_INTERVAL} trials of one of them: no interval, no test, and none is the best."
        )
    for init, rows in column.rows.items():
        if rows[0]["unchecked"]:
            lines.append(f"Whether {labels[init]} has seen test patients cannot be told: {rows[0]['unchecked']}.")
    lines += [
        "",
        *markdown.header(_HEADER),
    ]
    for init, summary in column.summaries.items():
        test = column.tests.get(init)
        tested = (
            ("best" if column.has_winner else "", "", "", "", "")
            if test is None
            else (p_text(test.p), p_text(column.holm[init]), p_text(test.p_plain), *_paired(column, init))
        )
        interval = f"{100 * summary.low:.2f} to {100 * summary.high:.2f}" if not math.isnan(summary.low) else ""
        sd = f"{100 * summary.sd:.2f}" if summary.trials > 1 else ""
        rise = _late_rise(column.rows[init])
        gained = "" if math.isnan(rise) else f"{100 * rise:+.2f}"
        cells = (labels[init], summary.trials, f"{100 * summary.mean:.2f}", sd, interval, *tested, gained)
        lines.append(markdown.row(cells))
    lines += _without_doubtful(column, labels)
    trials = [row["values"] for found in column.rows.values() for row in found]
    others = [name for name in first["values"] if name != settings["metric"] and all(name in one for one in trials)]
    if others:
        lines += ["", *markdown.header(["mean over trials, %", *others])]
        for init, rows in column.rows.items():
            means = [100 * sum(row["values"][name] for row in rows) / len(rows) for name in others]
            lines.append(markdown.row([labels[init], *(f"{mean:.2f}" for mean in means)]))
    return [*lines, *_in_mm(column, labels), ""]


def _in_mm(column: Column, labels: Mapping[str, str]) -> list[str]:
    """Surfaces and centres, where they were measured."""
    found = column.in_mm
    if not found:
        return []
    shares = {name: name.startswith(SURFACE_DICE) for name in found}
    header = [f"{name}, {'%' if share else 'mm'}" for name, share in shares.items()]
    lines = ["", f"Of all test items, {SURFACE_DICE_AT}; the distance of centres is of what was found:", ""]
    lines += markdown.header(["mean over trials", *header])
    for init in column.rows:
        means = {name: sum(of[init].values()) / len(of[init]) for name, of in found.items()}
        cells = (f"{100 * mean:.2f}" if shares[name] else f"{mean:.2f}" for name, mean in means.items())
        lines.append(markdown.row([labels[init], *cells]))
    return lines


def _paired(column: Column, init: str) -> tuple[str, str]:
    """p of the paired test against the best, and the effect with its interval."""
    found = column.paired(init, column.best)
    if math.isnan(found.effect):
        return p_text(found.p), ""
    return p_text(found.p), f"{found.effect:.1f} ({found.effect_low:.1f} to {found.effect_high:.1f})"


def _notes(column: Column, labels: Mapping[str, str]) -> list[str]:
    """What else is to be known of the figures of a target."""
    settings, first = column.settings, next(iter(column.rows.values()))[0]
    notes = []
    if first["left_out"]:
        notes.append(
            f"No AUC, for too few positives (at least {settings['min_positives']} are asked for in the test part): "
            f"{', '.join(first['left_out'])}."
        )
    if first.get("seen"):
        notes.append(f"{first['seen']} patients of the pre-training are trained on, not tested.")
    for init, count in column.others.items():
        notes.append(
            f"{count} trials of {labels[init]} are left out: they have other settings of its own than most, as where "
            "two machines chose differently."
        )
    rows = [row for found in column.rows.values() for row in found]
    for name in sorted({name for row in rows for name in row.get("absent", {})}):
        counts = [row.get("absent", {}).get(name, 0) for row in rows]
        several = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(counts[0])
        notes.append(f"{name} is neither there nor found in {several} of the test items, which are in no mean of it.")
    return notes


def _without_doubtful(column: Column, labels: Mapping[str, str]) -> list[str]:
    """The same figures without the test items whose reference is known to be wrong."""
    if not column.sure:
        return []
    named = "; ".join(f"{item}: {why}" for item, why in column.doubtful.items())
    return [
        "",
        f"Without {len(column.doubtful)} test items whose reference is known to be wrong ({named}):",
        "",
        *markdown.header(["initialisation", "all test items", "without them"]),
        *(
            markdown.row([labels[init], percent(column.summaries[init]), percent(sure)])
            for init, sure in column.sure.items()
        ),
    ]


def _late_rise(rows: list[Row]) -> float:
    """Mean over the trials in which something was validated before; NaN where none was."""
    rises = [rise for row in rows if not math.isnan(rise := late_rise(row["curve"]))]
    return sum(rises) / len(rises) if rises else math.nan


def p_text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2g}"


def _reported(columns: list[Column]) -> list[str]:
    """The paper's own figures of the tasks that were run, or stood in for."""
    published = reported()["semantic-genesis-3d"]
    codes = {column.settings["code"] for column in columns} - {""}
    shown = [i for i, name in enumerate(published["columns"]) if name.split()[0] in codes]
    if not shown:
        return []
    lines = [
        "## Reported by the paper, measured by nobody here",
        "",
        f"{published['paper']}, {published['table']}. {published['about']} Other data, other networks and other "
        "settings than above: to be read beside, not compared.",
        "",
        "| initialisation (reported) | " + " | ".join(published["columns"][i] for i in shown) + " |",
        "|---" * (len(shown) + 1) + "|",
    ]
    lines += [
        f"| {row[0].replace('*', '').replace(', these weights', '')} | " + " | ".join(row[1 + i] for i in shown) + " |"
        for row in published["rows"]
    ]
    return [*lines, ""]
