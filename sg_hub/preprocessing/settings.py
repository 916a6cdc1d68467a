"""Checks of the settings of a preprocessing, which come from a config.json or from a user."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, get_args

from sg_hub.errors import InvalidInputError, shortened
from sg_hub.given import real

Intensity = Literal["window", "percentile", "zscore"]
INTENSITIES: tuple[str, ...] = get_args(Intensity)
_LARGEST = 1e30
_MOST_DEVIATIONS = 100.0
_MOST_VOXELS = 1 << 20
"""Along an axis."""


def settings_of(kind: type, settings: Mapping[str, Any], optional: Sequence[str] = ()) -> Mapping[str, Any]:
    """What config.json holds of a dataclass of settings, when it is that.

    Args:
        optional: keys that it need not hold.

    Raises:
        InvalidInputError: unknown or missing keys.
    """
    if not isinstance(settings, Mapping):
        raise InvalidInputError(f"preprocessing is a {type(settings).__name__}: expected its settings by name")
    names = {field.name for field in fields(kind)}
    unknown, missing = sorted(set(settings) - names), sorted(names - set(settings) - set(optional))
    if unknown:
        raise InvalidInputError(
            f"preprocessing has unknown keys {shortened(', '.join(unknown))} (known: {', '.join(sorted(names))}); "
            "written by a newer version? Upgrade with: pip install -U sg_hub"
        )
    if missing:
        raise InvalidInputError(f"preprocessing lacks {', '.join(missing)}: add them, or save the model again")
    return settings


def check_modality(modality: object) -> None:
    """Refuse what is no word.

    Raises:
        InvalidInputError: naming it.
    """
    if not isinstance(modality, str) or not modality.strip():
        raise InvalidInputError(f"modality={shortened(repr(modality), 80)}: expected a word of DICOM, such as 'CT'")


def check_intensity(intensity: object, low: Any, high: Any) -> tuple[float, float]:
    """Low and high as numbers.

    Raises:
        InvalidInputError: no such kind of intensity, or limits that are impossible for it.
    """
    lowest, highest = number("low", low), number("high", high)
    if not isinstance(intensity, str) or intensity not in INTENSITIES:
        raise InvalidInputError(f"intensity={shortened(repr(intensity), 80)}: expected one of {', '.join(INTENSITIES)}")
    if not lowest < highest:
        raise InvalidInputError(f"low={lowest:g}, high={highest:g}: expected low below high")
    if intensity == "percentile" and not 0 <= lowest < highest <= 100:
        raise InvalidInputError(f"percentiles {lowest:g} and {highest:g}: expected numbers from 0 to 100")
    if intensity == "zscore" and not -_MOST_DEVIATIONS <= lowest < 0 < highest <= _MOST_DEVIATIONS:
        raise InvalidInputError(
            f"low={lowest:g}, high={highest:g}: of a zscore they are deviations from the mean, such as -5 and 5"
        )
    return lowest, highest


def check_spacing(spacing: Any) -> tuple[float, ...]:
    """A spacing (x, y, z) in mm.

    Raises:
        InvalidInputError: not three positive numbers.
    """
    wanted = "three positive numbers (x, y, z) in mm, or None"
    found = tuple(number("spacing", value) for value in _several("spacing", spacing, 3, wanted))
    if min(found) <= 0:
        raise InvalidInputError(f"spacing={spacing}: expected {wanted}")
    return found


def check_size(name: str, size: Any, ndim: int) -> tuple[int, ...]:
    """A size in voxels (x, y, z), or in pixels (rows, columns).

    Raises:
        InvalidInputError: not that many whole numbers of at least 1.
    """
    wanted = "three whole numbers of voxels (x, y, z)" if ndim == 3 else "two whole numbers of pixels (rows, columns)"
    found = [number(name, value) for value in _several(name, size, ndim, wanted)]
    if any(value != int(value) or not 1 <= value <= _MOST_VOXELS for value in found):
        raise InvalidInputError(f"{name}={shortened(size, 80)}: expected {wanted}")
    return tuple(int(value) for value in found)


def number(name: str, value: Any) -> float:
    """A finite number.

    Raises:
        InvalidInputError: anything else.
    """
    found = real(value)
    if found is None or abs(found) > _LARGEST:
        raise InvalidInputError(f"{name}: {shortened(repr(value), 80)} is not a finite number")
    return found


def _several(name: str, values: Any, count: int, wanted: str) -> tuple[Any, ...]:
    iterable = isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping))
    found = tuple(itertools.islice(values, count + 1)) if iterable else ()
    if len(found) != count:
        raise InvalidInputError(f"{name}={shortened(repr(values), 80)}: expected {wanted}")
    return found
