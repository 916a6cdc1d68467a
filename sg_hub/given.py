"""Numbers as they are given, of Python or numpy: True, False and what is no number are refused by everybody alike."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np


def whole(value: object) -> int | None:
    """A whole number as an int; None: it is none."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None


def real(value: object) -> float | None:
    """A finite number as a float; None: it is none."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return found if math.isfinite(found) else None


def several(values: Any, count: int) -> tuple[float, ...] | None:
    """That many numbers, of a sequence or an array; None: they are none, or more, or fewer."""
    try:
        found = np.asarray(values)
    except (TypeError, ValueError):
        return None
    return tuple(float(value) for value in found.ravel()) if found.dtype.kind in "iuf" and found.size == count else None
