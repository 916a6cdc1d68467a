"""The page docs/speed.md, from the figures of the last run of each part."""

from __future__ import annotations

from typing import Any

TITLES = {
    "imports": "Start",
    "transforms": "Transformations, per cube or image",
    "loader": "Reading",
    "step": "A training step",
    "gpu": "On a GPU",
    "discovery": "Discovery",
    "inference": "Whole scans",
}
HEAD = """# Speed

Written by `make speed` from `benchmarks/speed.json`: {parts}. One part alone:
`python -m benchmarks.speed --only transforms`.

Of one core the processor's time counts, which other work on the machine changes little; of several that which passes.
What is compared runs alternately in one process, or in fresh ones that take turns. Values are medians, and the ratio is
the median over the pairs: below 1, ours takes less. A goal that is no ratio has the unit of its row.
"""


def page(results: dict[str, Any], notes: str) -> str:
    text = HEAD.format(parts=f"{len(results)} parts of {len(TITLES)}")
    for part, title in TITLES.items():
        if part in results:
            text += f"\n## {title}\n\n{_origin(results[part]['measured'])}\n\n{_table(results[part]['rows'])}\n"
    return f"{text}\n{notes.strip()}\n"


def _origin(origin: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    return (
        f"{origin['date']}, {origin['machine']}, load {origin['load']} when it began; {versions}; commit "
        f"{origin['commit'][:10]}{origin['commit'][40:]}; {origin['minutes']} min."
    )


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| what | ours | | beside | | ratio | goal |", "|---|---:|---|---|---:|---:|---|"]
    for row in rows:
        cells = [
            row["what"],
            _number(row["value"]),
            row["unit"],
            row.get("against", ""),
            _number(row.get("other")),
            _number(row.get("ratio")),
            row.get("goal", ""),
        ]
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
