"""The report of a benchmark: tables in the form of the paper's Table 2, figures in the form of its Fig. 2 and 3.

    sg-hub report <folder>

Writes to `<folder>/report/`: `report.md`, `table.md`, `table.tex`, `table.csv`, the figures, and for the cards one
JSON per target and set of weights in `<folder>/<target>/`, where `sg-hub publish` finds it when the
benchmark's folder was `<run>/transfer`. Everything is read from the table of results: neither data nor weights are
needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sg_hub.errors import ReadError
from sg_hub.io.files import given_path, write_atomic

from ..trials.grids.results import TABLE, Row, read_results
from .cards import write_card_record
from .columns import Column, columns_of
from .page import build_page, draw_figures
from .tables import csv_table, latex_table, markdown_table


def columns_in(folder: Path, rows: Mapping[str, Row] | None = None) -> list[Column]:
    """The columns of a folder of results; of a target's trials by different protocols, those by the newest.

    Args:
        rows: of the folder, by key, that are looked at; absent: all.

    Raises:
        ReadError, InvalidInputError: as `report`.
    """
    rows = read_results(folder) if rows is None else rows
    if not rows:
        raise ReadError(f"{folder} holds no {TABLE}, or an empty one: run `sg-hub benchmark` first")
    newest: dict[str, int] = {}
    for row in rows.values():
        newest[row["target"]] = max(row["protocol"], newest.get(row["target"], 0))
    older = {key for key, row in rows.items() if row["protocol"] < newest[row["target"]]}
    if older:
        print(f"{len(older)} trials by an older protocol than others of their target are left out: not comparable")
        rows = {key: row for key, row in rows.items() if key not in older}
    return columns_of(rows)


def report(folder: str | Path, out: str | Path | None = None, rows: Mapping[str, Row] | None = None) -> Path:
    """Write the report of a folder of results; returns report.md.

    Args:
        rows: see `columns_in`.

    Raises:
        ReadError: there are no results, or damaged ones.
        InvalidInputError: results of one target with different settings.
    """
    folder = given_path(folder, "the folder of a benchmark")
    columns = columns_in(folder, rows)
    out = given_path(out, "the folder of the report") if out is not None else folder / "report"
    whole = [column for column in columns if column.whole] or columns
    figures = draw_figures(folder, out, columns, whole)
    write_atomic(out / "table.csv", csv_table(columns))
    write_atomic(out / "table.md", markdown_table(whole) + "\n")
    write_atomic(out / "table.tex", latex_table(whole))
    write_atomic(out / "report.md", build_page(columns, whole, figures))
    for column in columns:
        for init in column.rows:
            write_card_record(folder, column, init)
    return out / "report.md"
