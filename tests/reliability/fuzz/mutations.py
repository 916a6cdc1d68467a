"""Damage: of bytes, of numbers in a text, of fields in a binary header. Seeded: every input can be made again."""

from __future__ import annotations

import copy
import json
import math
import random
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "3",
    "7",
    "255",
    "65536",
    "1000000",
    "2147483648",
    "-2147483649",
    "9223372036854775808",
    "99999999999999999999999999",
    "9" * 400,
    "1e300",
    "-1e300",
    "1e-320",
    "nan",
    "inf",
    "-inf",
    "0.5",
    "0x10",
    "1,2",
    "",
    "abc",
    "%d",
    "1e",
    "+",
)
WORDS = ("", "True", "False", "LOCAL", "LIST", "none", "MET_OTHER", "../x", "/dev/zero", "\0", "ü" * 40, "a" * 100_000)
_FORMATS = ("<b", "<B", "<h", "<H", "<i", "<I", "<q", "<f", "<d", ">h", ">i", ">f")
_VALUES = (0, 1, -1, 2, 3, 4, 5, 7, 8, 15, 16, 127, 128, 255, 256, 1000, 32767, 65535, 2**31 - 1, -(2**31), 2**32 - 1)
_REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-40, 1e30, 3e38, -3e38, float("nan"), float("inf"), float("-inf"), 352.5, 1e9)


def damage(data: bytes, rng: random.Random, most: int | None = None) -> bytes:
    """Bytes with one to three of: bits flipped, pieces overwritten, cut out, doubled, or the end cut off.

    Args:
        most: only before this place, as where the header ends.
    """
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice(_DAMAGES)(bytearray(data), rng, min(most or len(data), len(data)))
    return data


def overwrite(data: bytes, rng: random.Random, most: int | None = None) -> bytes:
    """The same, of the same length: nothing moves."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice((_flip, _overwrite, _noise))(bytearray(data), rng, min(most or len(data), len(data)))
    return data


def _flip(data: bytearray, rng: random.Random, most: int) -> bytes:
    for _ in range(rng.choice((1, 1, 4, 32))):
        if most:
            data[rng.randrange(most)] ^= 1 << rng.randrange(8)
    return bytes(data)


def _overwrite(data: bytearray, rng: random.Random, most: int) -> bytes:
    kind = rng.choice(_FORMATS)
    start = rng.randrange(max(1, most))
    data[start : start + struct.calcsize(kind)] = packed(kind, rng)
    return bytes(data)


def _cut(data: bytearray, rng: random.Random, most: int) -> bytes:
    return bytes(data[: rng.randrange(max(1, len(data)))])


def _cut_out(data: bytearray, rng: random.Random, most: int) -> bytes:
    start = rng.randrange(max(1, most))
    del data[start : start + rng.choice((1, 2, 4, 16, 200))]
    return bytes(data)


def _double(data: bytearray, rng: random.Random, most: int) -> bytes:
    start = rng.randrange(max(1, most))
    piece = data[start : start + rng.choice((1, 2, 8, 64, 400))]
    return bytes(data[:start] + piece * rng.choice((2, 3, 50)) + data[start:])


def _noise(data: bytearray, rng: random.Random, most: int) -> bytes:
    start = rng.randrange(max(1, most))
    length = rng.choice((2, 8, 64))
    data[start : start + length] = rng.randbytes(length)
    return bytes(data)


_DAMAGES: Sequence[Callable[[bytearray, random.Random, int], bytes]] = (
    _flip,
    _overwrite,
    _cut,
    _cut_out,
    _double,
    _noise,
)


def packed(kind: str, rng: random.Random) -> bytes:
    """A number of a struct format that hurts."""
    if kind[-1] in "fd":
        value = rng.choice((*_REALS, rng.uniform(-1e4, 1e4)))
        fits = kind[-1] == "d" or not math.isfinite(value)
        return struct.pack(kind, value if fits else max(-3.4e38, min(3.4e38, value)))
    bits = 8 * struct.calcsize(kind)
    value = rng.choice((*_VALUES, rng.getrandbits(bits))) % (1 << bits)
    return value.to_bytes(bits // 8, "little" if kind[0] == "<" else "big")


def set_fields(data: bytes, fields: Sequence[tuple[int, str]], rng: random.Random) -> bytes:
    """A binary header with one to three of its fields (offset, struct format) set to numbers that hurt."""
    changed = bytearray(data)
    for offset, kind in rng.sample(fields, min(len(fields), rng.choice((1, 1, 2, 3)))):
        changed[offset : offset + struct.calcsize(kind)] = packed(kind, rng)
    return bytes(changed)


def edit_text(text: str, rng: random.Random) -> str:
    """A text header with one to three of: a number replaced, a value replaced, a line left out, doubled or moved."""
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = rng.randrange(len(lines))
        action = rng.randrange(6)
        if action <= 2:
            numbers = list(re.finditer(r"-?\d[\d.e+-]*", lines[place]))
            if numbers:
                one = rng.choice(numbers)
                lines[place] = lines[place][: one.start()] + rng.choice(NUMBERS) + lines[place][one.end() :]
        elif action == 3:
            key, sign, _ = re.match(r"([^=:]*)([=:]?\s*)(.*)", lines[place], re.DOTALL).groups()  # type: ignore[union-attr]
            lines[place] = key + sign + rng.choice((*WORDS, *NUMBERS))
        elif action == 4:
            del lines[place]
        else:
            lines.insert(rng.randrange(len(lines) + 1), lines[place])
        lines = lines or [""]
    return "\n".join(lines)


_JSON = (
    None,
    True,
    False,
    0,
    -1,
    1,
    3,
    0.5,
    10**9,
    2**63,
    10**400,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "abc",
    "../x",
)
_JSON += ("a" * 100_000, "ü", "\0", "/etc/passwd", "12", [], [1], [[1, 2], [3]], [None], {}, {"a": 1})


def edit_json(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON value with one to three of: a value replaced, a key left out or added, a list longer."""
    changed = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(changed))
        holder, key = rng.choice(places) if places else (None, None)
        how = rng.randrange(6)
        if holder is None:
            return _hurting(rng)
        if how <= 2:
            holder[key] = _hurting(rng)
        elif how == 3:
            del holder[key]
        elif how == 4 and isinstance(holder[key], int | float) and abs(holder[key]) < 1e300:
            holder[key] = holder[key] * rng.choice((-1, 0, 2, 0.5, 1000)) + rng.choice((0, 1))
        elif isinstance(holder, dict):
            holder[rng.choice(("own", key.upper(), ""))] = _hurting(rng)
        else:
            holder.insert(key, _hurting(rng))
    return changed


def _hurting(rng: random.Random) -> Any:
    """A value of its own: what is put into one that two places share would be in both."""
    return copy.deepcopy(rng.choice(_JSON))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (object or list, key or index) of a JSON value."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from _places(inner)


def edited_json(text: bytes, rng: random.Random) -> bytes:
    """A JSON text whose values are changed, or its bytes."""
    if rng.random() < 0.75:
        return json.dumps(edit_json(json.loads(text), rng)).encode()
    return damage(text, rng)


def edited_text(text: str, rng: random.Random) -> bytes:
    """A text whose numbers, values and lines are changed, or its bytes."""
    if rng.random() < 0.6:
        return edit_text(text, rng).encode("utf-8", "surrogateescape")
    return damage(text.encode(), rng)
