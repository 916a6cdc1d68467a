"""The report of a benchmark: tables in the form of the paper's Table 2, figures in the form of its Fig. 2 and 3.

    python -m training report <folder>

Writes to `<folder>/report/`: `report.md`, `table.md`, `table.tex`, `table.csv`, the figures, and for the cards one
JSON per target and set of weights in `<folder>/<target>/`, where `python -m training publish` finds it when the
benchmark's folder was `<run>/transfer`. Everything is read from the table of results: neither data nor weights are
needed.
"""

from __future__ import annotations

import csv
import io
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError, ReadError
from training import report_figures, runs
from training.initialise import name_of
from training.results import TABLE, Row, read_results
from training.statistics import LEVEL, Comparison, Summary, against_best, compare, summarise

METRICS = {"auc": "AUC", "iou": "IoU", "dice": "Dice"}
MARK = "†"
"""Behind what does not differ significantly from the best."""


@dataclass(frozen=True)
class Column:
    """The trials of one target, and what they say."""

    name: str
    settings: dict[str, Any]
    fraction: float
    rows: dict[str, list[Row]]
    """By initialisation, in the order of the trials."""
    summaries: dict[str, Summary]
    best: str
    tests: dict[str, Comparison]
    """All others against the best."""
    holm: dict[str, float]

    @property
    def title(self) -> str:
        share = f", {self.fraction:.0%} of labels" if self.fraction < 1 else ""
        return f"{self.name}{share} ({METRICS[self.settings['metric']]} %)"

    @property
    def values(self) -> dict[str, list[float]]:
        return {init: [row["value"] for row in rows] for init, rows in self.rows.items()}

    def equals_best(self, init: str) -> bool:
        """Whether an initialisation cannot be told from the best: Welch's p, corrected (Holm), is not below 0.05."""
        return init != self.best and not math.isnan(self.holm[init]) and self.holm[init] >= LEVEL


def report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a folder of results; returns report.md.

    Raises:
        ReadError: there are no results, or damaged ones.
        InvalidInputError: results of one target with different settings.
    """
    folder = Path(folder)
    rows = read_results(folder)
    if not rows:
        raise ReadError(f"{folder} holds no {TABLE}, or an empty one: run `python -m training benchmark` first")
    out = Path(out) if out is not None else folder / "report"
    columns = columns_of(rows)
    whole = [column for column in columns if column.fraction == 1] or columns
    figures = _figures(folder, out, columns, whole)
    runs.write_atomic(out / "table.csv", csv_table(columns))
    runs.write_atomic(out / "table.md", markdown_table(whole) + "\n")
    runs.write_atomic(out / "table.tex", latex_table(whole))
    runs.write_atomic(out / "report.md", _page(columns, whole, figures))
    for column in whole:
        for init in column.rows:
            _card_record(folder, column, init)
    return out / "report.md"


def columns_of(rows: Mapping[str, Row]) -> list[Column]:
    """Trials by target and fraction; of an initialisation the trials are in order.

    Raises:
        InvalidInputError: trials of one target with different settings or cases, which cannot be compared.
    """
    grouped: dict[tuple[str, float], dict[str, list[Row]]] = {}
    for row in rows.values():
        grouped.setdefault((row["target"], -row["fraction"]), {}).setdefault(row["init"], []).append(row)
    columns = []
    for (target, fraction), by_init in sorted(grouped.items()):
        trials = [row for found in by_init.values() for row in found]
        _check_comparable(target, trials)
        ordered = {init: sorted(found, key=lambda row: row["trial"]) for init, found in sorted(by_init.items())}
        values = {init: [row["value"] for row in found] for init, found in ordered.items()}
        summaries = {init: summarise(found) for init, found in values.items()}
        settings = trials[0]["settings"]
        columns.append(Column(target, settings, -fraction, ordered, summaries, *against_best(values)))
    return columns


def _check_comparable(target: str, trials: list[Row]) -> None:
    ignored = ("title", "description", "code")
    for row in trials:
        for key, value in row["settings"].items():
            if key not in ignored and value != trials[0]["settings"].get(key):
                raise InvalidInputError(
                    f"target {target} was run with different {key} ({value} and {trials[0]['settings'].get(key)}): "
                    "they cannot be compared; give each its own --out"
                )
    for init in {row["init"] for row in trials}:
        weights = {row["weights"] for row in trials if row["init"] == init}
        numbers = [row["trial"] for row in trials if row["init"] == init]
        if len(weights) > 1 or len(set(numbers)) < len(numbers):
            raise InvalidInputError(
                f"target {target}: {init} stands for {len(weights)} sets of weights, or its data have changed between "
                "trials; give each its own --out"
            )


# -- tables ----------------------------------------------------------------------------------------------------------


def _inits(columns: list[Column]) -> list[str]:
    """Every initialisation: random ones first, as in the paper."""
    names = {init for column in columns for init in column.rows}
    return sorted(names, key=lambda init: (not init.startswith("random:"), init))


def _label(init: str) -> str:
    kind = init.partition(":")[0] if name_of(init) != init else ""
    name = Path(name_of(init)).name
    return {"random": f"Random ({name})", "encoder": f"{name}, encoder alone", "imagenet": f"ImageNet ({name})"}.get(
        kind, name
    )


def _percent(summary: Summary, plus_minus: str = "±") -> str:
    sd = "" if math.isnan(summary.sd) else f"{plus_minus}{100 * summary.sd:.2f}"
    return f"{100 * summary.mean:.2f}{sd}"


def markdown_table(columns: list[Column]) -> str:
    """Mean ± standard deviation over the trials: the best in bold, marked what cannot be told from it."""
    lines = ["| initialisation | " + " | ".join(column.title for column in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for init in _inits(columns):
        cells = []
        for column in columns:
            text = _percent(column.summaries[init]) if init in column.summaries else ""
            if init == column.best:
                text = f"**{text}**"
            elif init in column.summaries and column.equals_best(init):
                text += MARK
            cells.append(text)
        lines.append(f"| {_label(init)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def latex_table(columns: list[Column]) -> str:
    """The same for LaTeX, with booktabs and colortbl: what cannot be told from the best is on a blue ground."""
    lines = [
        "% \\usepackage{booktabs} \\usepackage[table]{xcolor}",
        "\\begin{tabular}{l" + "c" * len(columns) + "}",
        "\\toprule",
        "Initialisation & " + " & ".join(_escaped(column.title) for column in columns) + " \\\\",
        "\\midrule",
    ]
    for init in _inits(columns):
        cells = []
        for column in columns:
            text = _percent(column.summaries[init], "$\\pm$") if init in column.summaries else "--"
            if init == column.best:
                text = f"\\textbf{{{text}}}"
            elif init in column.summaries and column.equals_best(init):
                text = f"\\cellcolor{{blue!15}}{text}"
            cells.append(text)
        lines.append(f"{_escaped(_label(init))} & " + " & ".join(cells) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "%&_#$" else letter for letter in text)


def csv_table(columns: list[Column]) -> str:
    """One line per target, fraction and initialisation, with everything that was computed; values in 0..1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ("target", "fraction", "initialisation", "metric", "trials", "mean", "sd", "low95", "high95", "best")
    writer.writerow((*header, "difference_to_best", "p_welch", "p_plain", "p_holm", "minutes_per_trial"))
    for column in columns:
        for init, summary in column.summaries.items():
            test = column.tests.get(init)
            tested = (test.difference, test.p, test.p_plain, column.holm[init]) if test else ("", "", "", "")
            minutes = sum(row["minutes"] for row in column.rows[init]) / summary.trials
            numbers = (summary.trials, summary.mean, summary.sd, summary.low, summary.high, int(init == column.best))
            fields = (column.name, column.fraction, init, column.settings["metric"], *numbers, *tested, minutes)
            writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in fields])
    return text.getvalue()


# -- the page --------------------------------------------------------------------------------------------------------


def _figures(folder: Path, out: Path, columns: list[Column], whole: list[Column]) -> list[tuple[str, str]]:
    """Draw everything; captions and file names."""
    out.mkdir(parents=True, exist_ok=True)
    labels = {init: _label(init) for init in _inits(columns)}
    figures = [("Mean and standard deviation over the trials (Fig. 2 of the paper)", "bars.png")]
    report_figures.bars(whole, labels, out / "bars.png")
    by_code: dict[str, set[int]] = {}
    for column in whole:
        by_code.setdefault(column.settings["code"], set()).add(column.settings["ndim"])
    both = [column for column in whole if len(by_code[column.settings["code"]]) > 1]
    if both:
        report_figures.bars_2d_3d(both, labels, out / "bars_2d_3d.png")
        figures.append(("The same task in 2D, slice by slice, and in 3D (Fig. 3)", "bars_2d_3d.png"))
    if len({column.fraction for column in columns}) > 1:
        report_figures.fraction_curves(columns, labels, out / "fractions.png")
        figures.append(("With fewer labels: mean and 95 % confidence interval", "fractions.png"))
    for column in whole:
        name = f"curves-{column.name}.png"
        curves = {labels[init]: [row["curve"] for row in rows] for init, rows in column.rows.items()}
        report_figures.learning_curves(curves, METRICS[column.settings["metric"]], out / name)
        figures.append((f"{column.name}: validation and training over the steps, mean and range of the trials", name))
        name = f"examples-{column.name}.png"
        shown = {
            labels[init]: folder / "trials" / rows[0]["key"] / "examples.npz" for init, rows in column.rows.items()
        }
        if report_figures.examples(shown, out / name):
            figures.append((f"{column.name}: best, median and worst test case of the first trial", name))
    return figures


def _page(columns: list[Column], whole: list[Column], figures: list[tuple[str, str]]) -> str:
    lines = ["# Target tasks", "", "## Measured here", "", markdown_table(whole), ""]
    lines += [
        f"Mean ± standard deviation over the trials, in %; the best of a column is bold. {MARK}: not significantly "
        f"different from it (two-sample t-test, equal variances not assumed, Holm's correction, p ≥ {LEVEL:g}). The "
        "plain t-test of the paper, without correction, and confidence intervals are below and in `table.csv`. The "
        "settings of a target are the same for every initialisation; the checkpoint was chosen on the validation part, "
        "and the test part was read once, at the end of a trial. A label fraction is of the training patients alone.",
        "",
    ]
    for column in columns:
        lines += _section(column)
    lines += ["## Figures", ""]
    for caption, name in figures:
        lines += [f"{caption}:", "", f"![{caption}]({name})", ""]
    lines += _reported(whole)
    return "\n".join(lines)


def _section(column: Column) -> list[str]:
    """What a target is, and every figure of it."""
    settings, first = column.settings, next(iter(column.rows.values()))[0]
    training = settings["settings"]
    parts = ", ".join(
        f"{part} {first['cases'][part]} cases of {first['patients'][part]} patients"
        for part in ("train", "validation", "test")
    )
    minutes = sum(row["minutes"] for rows in column.rows.values() for row in rows)
    count = sum(len(rows) for rows in column.rows.values())
    lines = [
        f"### {column.title}",
        "",
        f"{settings['title']}. {settings['description'] if column.fraction == 1 else ''}".strip(),
        "",
        f"{parts}. {training['steps']} steps of {training['batch_size']}, learning rate {training['lr']:g}, "
        f"{training['precision']}. {count} trials, {minutes:.1f} minutes in all, on {first['machine']}.",
    ]
    if first["left_out"]:
        lines.append(f"No AUC (fewer than {settings['min_positives']} positives): {', '.join(first['left_out'])}.")
    lines += ["", "| initialisation | trials | mean | sd | 95 % CI | p Welch | p Holm | p plain |", "|---" * 8 + "|"]
    for init, summary in column.summaries.items():
        test = column.tests.get(init)
        tested = ("best", "", "") if test is None else (_p(test.p), _p(column.holm[init]), _p(test.p_plain))
        interval = f"{100 * summary.low:.2f} to {100 * summary.high:.2f}" if summary.trials > 1 else ""
        sd = f"{100 * summary.sd:.2f}" if summary.trials > 1 else ""
        cells = (_label(init), summary.trials, f"{100 * summary.mean:.2f}", sd, interval, *tested)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    others = [name for name in first["values"] if name != settings["metric"]]
    if others:
        lines += ["", "| mean over trials, % | " + " | ".join(others) + " |", "|---" * (len(others) + 1) + "|"]
        for init, rows in column.rows.items():
            means = [100 * sum(row["values"][name] for row in rows) / len(rows) for name in others]
            lines.append(f"| {_label(init)} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")
    return [*lines, ""]


def _p(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2g}"


def _reported(columns: list[Column]) -> list[str]:
    """The paper's own figures of the tasks that were run, or stood in for."""
    text = resources.files("training") / "reported.toml"
    published = tomllib.loads(text.read_text(encoding="utf-8"))["semantic-genesis-3d"]
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


# -- for the cards ---------------------------------------------------------------------------------------------------


def _card_record(folder: Path, column: Column, init: str) -> None:
    """What the card of these weights says of the target, where its architecture was run from random weights too."""
    random = f"random:{name_of(init)}"
    if init.startswith(("random:", "imagenet:")) or random not in column.rows:
        return
    rows, baseline = column.rows[init], column.rows[random]
    metric, first = column.settings["metric"], rows[0]
    names = [name for name in first["values"] if name.startswith(f"{metric} ")] + [metric]
    tests = {
        name: compare([row["values"][name] for row in rows], [row["values"][name] for row in baseline])
        for name in names
    }
    overall, word = tests[metric], "better" if tests[metric].difference > 0 else "worse"
    certainty = "significantly" if overall.p < LEVEL else "not significantly"
    training, title = column.settings["settings"], column.settings["title"]
    part = "-encoder" if init.startswith("encoder:") else ""
    record = {
        "title": f"{title}, {'encoder alone (the rest starts afresh)' if part else 'the whole network'}",
        "about": (
            f"{len(rows)} trials each. {column.settings['description']} {first['patients']['train']} patients to train "
            f"on, {first['patients']['validation']} to choose the step, {first['patients']['test']} to test on, none "
            "of these in pre-training. "
            f"{training['steps']} steps of {training['batch_size']}, learning rate {training['lr']:g}. "
            "Mean ± standard deviation over trials."
        ),
        "dataset_type": column.settings["dataset"],
        "dataset_name": title,
        "task_type": "image-segmentation" if column.settings["head"] == "segmentation" else "image-classification",
        "metric_type": "roc_auc" if metric == "auc" else metric,
        "metric": METRICS[metric],
        "rows": [
            {
                "name": "mean" if name == metric else name.removeprefix(f"{metric} "),
                "pretrained": _plain([row["values"][name] for row in rows]),
                "random": _plain([row["values"][name] for row in baseline]),
                "difference": f"{test.difference:+.3f} ({test.low:+.3f} to {test.high:+.3f})",
                "p": _p(test.p),
            }
            for name, test in tests.items()
        ],
        "verdict": (
            f"These weights are {abs(overall.difference):.3f} {METRICS[metric]} {word} than a random initialisation, "
            f"{certainty} at p = {LEVEL:g} (p = {_p(overall.p) or 'undefined'})."
        ),
        "sha256": first["weights"].partition(":")[2],
    }
    runs.write_json(folder / column.name / f"{Path(name_of(init)).name}{part}.json", record)


def _plain(values: list[float]) -> str:
    summary = summarise(values)
    return f"{summary.mean:.3f}" + ("" if math.isnan(summary.sd) else f" ± {summary.sd:.3f}")
