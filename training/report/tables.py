"""The tables of a report, in the form of the paper's Table 2."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

from ..run.pages import markdown
from ..statistics.trials import Summary
from .columns import Column, inits_of, labels_of

MARK = "†"
"""Behind what does not differ significantly from the best."""
_WORDS = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
"""Of LaTeX, for letters that a backslash before them makes another command of."""
PAIRED = ("p_paired", "paired_low95", "paired_high95", "effect", "effect_low95", "effect_high95")


def percent(summary: Summary, plus_minus: str = "±") -> str:
    sd = "" if math.isnan(summary.sd) else f"{plus_minus}{100 * summary.sd:.2f}"
    return f"{100 * summary.mean:.2f}{sd}"


def markdown_table(columns: list[Column]) -> str:
    """Mean ± standard deviation over the trials: the best in bold, marked what cannot be told from it."""
    lines = markdown.header(["initialisation", *(column.title for column in columns)])
    for init, label in labels_of(inits_of(columns)).items():
        cells = []
        for column in columns:
            text = percent(column.summaries[init]) if init in column.summaries else ""
            if init == column.best and column.has_winner:
                text = f"**{text}**"
            elif init in column.summaries and column.equals_best(init):
                text += MARK
            cells.append(text)
        lines.append(markdown.row([label, *cells]))
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
    for init, label in labels_of(inits_of(columns)).items():
        cells = []
        for column in columns:
            text = percent(column.summaries[init], "$\\pm$") if init in column.summaries else "--"
            if init == column.best and column.has_winner:
                text = f"\\textbf{{{text}}}"
            elif init in column.summaries and column.equals_best(init):
                text = f"\\cellcolor{{blue!15}}{text}"
            cells.append(text)
        lines.append(f"{_escaped(label)} & " + " & ".join(cells) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "%&_#${}" else _WORDS.get(letter, letter) for letter in text)


def csv_table(columns: list[Column]) -> str:
    """One line per target, fraction and initialisation, with everything that was computed; values in 0..1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    cell = ("target", "fraction", "labelled_patients", "own_settings", "initialisation", "metric", "trials", "mean")
    header = (*cell, "sd", "low95", "high95", "best")
    tests = ("difference_to_best", "p_welch", "p_plain", "p_holm", *PAIRED, "minutes_per_trial")
    writer.writerow((*header, *tests, "mean_without_doubtful", "sd_without_doubtful"))
    for column in columns:
        for init, summary in column.summaries.items():
            test = column.tests.get(init)
            tested: tuple[Any, ...] = ("",) * (4 + len(PAIRED))
            if test:
                apart = column.paired(init, column.best)
                pairs = (apart.p, apart.low, apart.high, apart.effect, apart.effect_low, apart.effect_high)
                tested = (test.difference, test.p, test.p_plain, column.holm[init], *pairs)
            minutes = sum(row["minutes"] for row in column.rows[init]) / summary.trials
            numbers = (
                summary.trials,
                summary.mean,
                summary.sd,
                summary.low,
                summary.high,
                int(init == column.best and column.has_winner),
            )
            sure = (column.sure[init].mean, column.sure[init].sd) if init in column.sure else ("", "")
            named = (column.name, column.fraction, column.labelled or "", int(column.own), init)
            fields = (*named, column.settings["metric"], *numbers, *tested, minutes, *sure)
            writer.writerow([_number(value) if isinstance(value, float) else value for value in fields])
    return text.getvalue()


def _number(value: float) -> str:
    """Empty where there is none: of too few trials."""
    return "" if math.isnan(value) else f"{value:.6g}"
