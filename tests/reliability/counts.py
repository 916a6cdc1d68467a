"""What came of inputs, kills and faults: counted by class, and shown as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_EXAMPLES = 5


@dataclass
class Counts:
    """How many are of each class, and the first few that are not as they should be.

    Args:
        good: the classes that are as they should be.
        show: whether each is printed, good or not.
    """

    good: Sequence[str]
    show: bool = False
    classes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, what: str) -> None:
        self.classes[kind] += 1
        if self.show:
            print(f"{what}: {kind}")
        if kind not in self.good and len(self.examples.setdefault(kind, [])) < _EXAMPLES:
            self.examples[kind].append(what)

    @property
    def total(self) -> int:
        return sum(self.classes.values())

    @property
    def bad(self) -> int:
        return self.total - sum(self.classes[kind] for kind in self.good)

    def __str__(self) -> str:
        return f"{self.total}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(self.classes.items()))

    def as_json(self) -> dict[str, Any]:
        return {"total": self.total, "bad": self.bad, "classes": dict(self.classes), "examples": self.examples}


def table(what: str, classes: Sequence[str], rows: Mapping[str, Counts]) -> str:
    """In Markdown, with a last row of sums; classes that never came are left out, but for the good ones."""
    total = Counter[str]()
    for counts in rows.values():
        total.update(counts.classes)
    shown = [kind for kind in classes if total[kind] or any(kind in counts.good for counts in rows.values())]
    lines = [[what, "all", *shown], ["---", *["---:"] * (1 + len(shown))]]
    lines += [[name, str(c.total), *(str(c.classes[kind]) for kind in shown)] for name, c in rows.items()]
    lines += [["together", str(sum(total.values())), *(str(total[kind]) for kind in shown)]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
