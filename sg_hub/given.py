"""Numbers as they are given, of Python or numpy: True, False and what is no number are refused by everybody alike."""

from __future__ import annotations

import math
from numbers import Integral, Real


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
