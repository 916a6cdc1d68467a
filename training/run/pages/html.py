"""Pages of HTML: text, tables and pictures, in one file that opens anywhere."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

STYLE = (
    "body { font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em } "
    "img { max-width: 100%; background: #fff } figure { margin: 0 0 2.5em } "
    "h2 { margin-bottom: .2em } p { margin: .2em 0 }"
)
TABLES = (
    " table { border-collapse: collapse; margin: 1em 0; font-size: 14px } th, td { padding: .25em .8em; text-align: "
    "left; border-bottom: 1px solid #ccc } td + td { font-variant-numeric: tabular-nums } .advice { font-size: 1.25em; "
    "padding: .8em 1em; background: #eef4fa; border-left: 4px solid #1f77b4; margin: 1em 0 } code { background: "
    "#f2f2f2 }"
)


def text(value: object) -> str:
    """As it stands in a page."""
    return html.escape(str(value))


def page(title: str, parts: Iterable[str], style: str = STYLE) -> str:
    """A whole page."""
    head = f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{text(title)}</title>\n'
    return "\n".join([f"{head}<style>{style}</style>", *parts, "</html>", ""])


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Cells are plain text; the first of a row is its name."""
    lines = ["<table>", "<tr>" + "".join(f"<th>{text(cell)}</th>" for cell in header) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "\n".join([*lines, "</table>"])


def picture(path: Path, caption: str) -> str:
    """A PNG, in the page itself, so that the page can be sent as one file."""
    data = base64.b64encode(path.read_bytes()).decode()
    alone = text(caption)
    return (
        f'<figure>\n<img src="data:image/png;base64,{data}" alt="{alone}">\n<figcaption>{alone}</figcaption>\n</figure>'
    )
