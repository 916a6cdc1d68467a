"""Left and right: classes of one side of the body, which mirroring along x would call by the wrong name."""

from __future__ import annotations

import re
from collections.abc import Sequence

WORDS = {"left": "right", "right": "left"}
LETTERS = {"l": "r", "r": "l", "lt": "rt", "rt": "lt", "lft": "rgt", "rgt": "lft"}
"""Stand for a side where there is a class of the other side too."""


def check_sides(classes: Sequence[str], pairs: Sequence[tuple[str, str]], mirrors: bool) -> None:
    """Refuse pairs that are none, and mirroring along x of classes of one side that are in no pair.

    Raises:
        ValueError: naming the class, and what to write.
    """
    paired = [name for pair in pairs for name in pair]
    for name in paired:
        if name not in classes:
            raise ValueError(f"mirror_pairs: {name!r} is none of the classes {list(classes)}")
        if paired.count(name) > 1:
            raise ValueError(f"mirror_pairs: {name!r} is in it twice")
    for name in classes if mirrors else ():
        if name in paired or not (others := _other_sides(name, classes)):
            continue
        partner = next((other for other in others if other in classes), None)
        remedy = f'mirror_pairs = [["{name}", "{partner}"]], or leave' if partner else "leave"
        raise ValueError(
            f'settings.mirror = "x" changes left and right, and the class {name!r} is of one side: {remedy} x out of '
            "mirror"
        )


def mirrored(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> tuple[int, ...]:
    """The number of the class that each becomes when it is mirrored."""
    other = {name: partner for a, b in pairs for name, partner in ((a, b), (b, a))}
    return tuple(names.index(other.get(name, name)) for name in names)


def _other_sides(name: str, classes: Sequence[str]) -> list[str]:
    """What the class of the other side may be called; empty where a name says no side."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|[^A-Za-z]+", name)
    others = []
    for number, part in enumerate(parts):
        swapped = (WORDS | LETTERS).get(part.lower())
        if swapped is None:
            continue
        swapped = swapped.upper() if part.isupper() else swapped.capitalize() if part[0].isupper() else swapped
        other = "".join([*parts[:number], swapped, *parts[number + 1 :]])
        if part.lower() in WORDS or other in classes:
            others.append(other)
    return others
