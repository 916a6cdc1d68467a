"""A table of results in CSV: every row is written when it is there, so that what was done stays done."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from sg_hub.io.files import unwritable


class Table:
    """Rows of a scan's path and its numbers, to a file or to standard output. A context manager.

    An older file is replaced by the first row, so not before something was done.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows = 0
        self._file: TextIO | None = None

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None and self.path is not None:
            self._file.close()

    def add(self, scan: str, columns: Sequence[str], values: Iterable[float]) -> None:
        """Write a row; before the first, the columns' names.

        Raises:
            ReadError: it cannot be written.
        """
        if self.path is None:
            self._write(sys.stdout, scan, columns, values)
            return
        try:
            if self._file is None:
                self._file = open(self.path, "w", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115
            self._write(self._file, scan, columns, values)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _write(self, file: TextIO, scan: str, columns: Sequence[str], values: Iterable[float]) -> None:
        writer: Any = csv.writer(file, lineterminator="\n")
        if self.rows == 0:
            writer.writerow(["scan", *columns])
        writer.writerow([scan, *(f"{value:.6g}" for value in values)])
        file.flush()
        self.rows += 1
