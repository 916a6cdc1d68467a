"""CSVs that people wrote, by hand or with a spreadsheet: between commas, semicolons or tabs, names in any case."""

from __future__ import annotations

import csv
import difflib
import io
import itertools
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sg_hub.errors import ReadError

Row = dict[str, str]
_SEPARATORS = ",;\t"
"""Spreadsheets write semicolons where a comma is a decimal point."""
_FIRST = 20
"""Lines in which the names of the columns are looked for."""


def read_csv(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """Rows of a CSV by the names of its columns, without blank lines; see `numbered_rows`."""
    return [row for _, row in numbered_rows(path, columns, optional)]


def numbered_rows(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> list[tuple[int, Row]]:
    """Rows of a CSV that has at least these columns, each with its line in the file.

    Blanks around names and values are cut, and values are composed (NFC), so that a name is the same name however it
    was typed. A column is known in capitals, too.

    Args:
        optional: columns that may be there, too; one of nearly such a name would not count, and is refused.

    Raises:
        ReadError: missing, damaged or with other columns, or a line of another length.
    """
    text, before = _begun(_text(path, columns))
    separator, header = _header(text, columns)
    header = _known(path, header, (*columns, *optional))
    missing = [name for name in columns if name not in header]
    if missing:
        raise ReadError(
            f"{path} lacks the column {missing[0]!r} (it has {', '.join(filter(None, header)) or 'none'}); expected "
            f"{', '.join(columns)}"
        )
    _check_near(path, header, optional)
    needed = max(header.index(name) for name in columns)
    rows = []
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        next(reader)
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            if len(values) <= needed or any(value.strip() for value in values[len(header) :]):  # one not in quotes
                said = f"{len(values)} values for {len(header)} columns"
                raise ReadError(f"{path}, line {before + reader.line_num}: {said}")
            composed = (unicodedata.normalize("NFC", value.strip()) for value in values)
            rows.append((before + reader.line_num, dict(zip(header, composed, strict=False))))
    except csv.Error as error:
        raise _unreadable(path, error) from error
    return rows


def columns_of(path: Path, wanted: Sequence[str]) -> list[str]:
    """The names of the columns of a CSV, as they stand there, whatever else is in it.

    Args:
        wanted: columns that are looked for; what is between them is found by these.
    """
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        text, _ = _begun("".join(itertools.islice(file, _FIRST)))
    return _header(text, wanted)[1]


def _begun(text: str) -> tuple[str, int]:
    """From the line with the names on, and how many lines are before it: blank ones, and a spreadsheet's `sep=;`."""
    before = 0
    while text and (not (line := text.partition("\n")[0].strip(" \t\r,;")) or line.lower().startswith("sep=")):
        text, before = text.partition("\n")[2], before + 1
    return text, before


def _text(path: Path, columns: Sequence[str]) -> str:
    try:
        return path.expanduser().read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ReadError(f"{path} is not there; expected a CSV with the columns {', '.join(columns)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ReadError:
    return ReadError(f"{path} cannot be read: {error}; expected a CSV in UTF-8")


def _header(text: str, columns: Sequence[str]) -> tuple[str, list[str]]:
    """The separator and the names: those that most of the columns are found by, and of these the first."""
    wanted = {name.lower() for name in columns}
    found = {separator: _split(text, separator) for separator in _SEPARATORS}
    best = max(found, key=lambda separator: len(wanted & {name.lower() for name in found[separator]}))
    return best, found[best]


def _split(text: str, separator: str) -> list[str]:
    try:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
    except csv.Error:
        return []
    return [unicodedata.normalize("NFC", name.strip()) for name in header]


def _known(path: Path, header: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The header with the columns that are looked for by their own names.

    Raises:
        ReadError: two columns of one name, or two that one of these may mean.
    """
    counts = Counter(name.lower() for name in wanted)
    by_case = {name.lower(): name for name in wanted if counts[name.lower()] == 1}
    named = [name if name in wanted else by_case.get(name.lower(), name) for name in header]
    double = next((name for name, count in Counter(named).items() if name and count > 1), None)
    if double is not None:
        raise ReadError(f"{path} has two columns {double!r}: leave the one that counts")
    return named


def _check_near(path: Path, header: Sequence[str], optional: Sequence[str]) -> None:
    """Refuse a CSV that lacks a column which may be there, and has one of nearly that name, which would not count.

    Raises:
        ReadError: naming both.
    """
    for name in (one for one in optional if one not in header):
        near = next((one for one in header if difflib.get_close_matches(one.lower(), [name], cutoff=0.8)), None)
        if near is not None:
            raise ReadError(
                f"{path} has the column {near!r}, which is not read, and none called {name!r}: call it {name!r}, or, "
                "if it is something else, by another name"
            )
