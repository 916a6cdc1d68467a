"""Damage: of bytes, of numbers in a text, of fields in a binary header. Seeded: every input can be made again."""

from __future__ import annotations

import math
import random
import re
import struct
from collections.abc import Callable, Sequence

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
