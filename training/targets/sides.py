"""Left and right: classes of one side of the body, which mirroring along x would call by the wrong name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

WORDS = (
    *(("left", "right"), ("links", "rechts"), ("linke", "rechte"), ("linker", "rechter"), ("linkes", "rechtes")),
    *(("gauche", "droite"), ("gauche", "droit"), ("izquierda", "derecha"), ("izquierdo", "derecho")),
    *(("sinister", "dexter"), ("sinistra", "dextra"), ("sinistra", "destra"), ("sinistro", "destro")),
    *(("esquerda", "direita"), ("esquerdo", "direito"), ("\u5de6", "\u53f3")),
)
"""Of the two sides; wherever one of them stands, a class is of one side."""
LETTERS = (
    *(("l", "r"), ("lt", "rt"), ("lft", "rgt"), ("li", "re"), ("lh", "rh")),
    *(("sin", "dex"), ("sin", "dext"), ("sn", "dx"), ("sx", "dx")),
)
"""Stand for a side where there is a class of the other side too. So does the first letter of a word: LUL and RUL."""
ALONE = ("l", "r", "lt", "rt", "lft", "rgt", "lh", "rh", "sin", "dex", "dext")
"""Of these, what stands for a side as the first or the last word of several: beside a mark (Parotid_L, kidney (R),
Lt. lung), or where another class has the other one so (R kidney, L lung)."""
_MARKS = re.compile(r"[^\w\s]|_")
_JOINED = re.compile(r"(?i)(left|right|links|rechts)(?!over|eous|ful|ly)[a-z]{3,}")
"""A side and what it is of in one word."""


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
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|[\u5de6\u53f3]|[^A-Za-z\u5de6\u53f3]+", name)
    others = []
    for number, part in enumerate(parts):
        for swapped, is_word in _swapped(part):
            other = "".join([*parts[:number], swapped, *parts[number + 1 :]])
            if is_word or other in classes or _is_alone(parts, number, swapped, classes):
                others.append(other)
    return others


def _is_alone(parts: Sequence[str], number: int, swapped: str, classes: Sequence[str]) -> bool:
    """Whether a part of a name stands for a side though there is no class of the other side."""
    words = [place for place, part in enumerate(parts) if part[0].isalnum()]
    beside = "".join(parts[place] for place in (number - 1, number + 1) if 0 <= place < len(parts))
    if parts[number].lower() not in ALONE or len(words) < 2 or number not in (words[0], words[-1]):
        return False
    ends = rf"(?i)(^{re.escape(swapped)}(?![a-z0-9]).*\w)|(\w.*(?<![a-z0-9]){re.escape(swapped)}\W*$)"
    if number == words[0] and len(parts[number]) == 1:
        beside = beside.replace("-", "")  # L-spine
    return not any(map(str.isalnum, beside)) and (
        bool(_MARKS.search(beside)) or any(re.search(ends, name) for name in classes)
    )


def _swapped(part: str) -> Iterator[tuple[str, bool]]:
    """What a part of a name is on the other side, written as it is; and whether it says by itself that it is of one."""
    word = part.lower()
    if joined := _JOINED.fullmatch(part):
        yield next(_swapped(joined[1]))[0] + part[joined.end(1) :], True
    for pairs, is_word in ((WORDS, True), (LETTERS, False)):
        for pair in pairs:
            if word in pair:
                other = pair[1 - pair.index(word)]
                yield other.upper() if part.isupper() else other.capitalize() if part[0].isupper() else other, is_word
    if word[0] in "lr" and len(word) > 1:
        first = {"l": "r", "r": "l"}[word[0]]
        yield (first.upper() if part[0].isupper() else first) + part[1:], False
