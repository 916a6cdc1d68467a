"""Tables and pictures of Markdown, whose cells and names may hold what Markdown itself is written with."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote


def row(cells: Sequence[object]) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(cell, cells))} |"


def cell(value: object) -> str:
    """As it stands in a table, in which a bar would begin another cell."""
    return str(value).replace("|", "\\|")


def header(cells: Sequence[object]) -> list[str]:
    """The first two lines of a table."""
    named = "|".join(f" {cell(one)} " if one else " " for one in cells)
    return [f"|{named}|", "|---" * len(cells) + "|"]


def picture(caption: str, name: str) -> str:
    """A file beside the page: a space or a bracket in its name would end the link."""
    return f"![{caption}]({quote(name)})"
