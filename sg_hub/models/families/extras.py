"""Networks of other packages, which are there where an extra of sg_hub was installed."""

from __future__ import annotations

import importlib
from typing import Any

from sg_hub.errors import InvalidInputError
from sg_hub.extras import missing
from sg_hub.models.base import check_counts

_MOST_LEVELS = 8


def from_extra(module: str, name: str, extra: str) -> Any:
    """What a module of another package calls `name`, imported now.

    Args:
        extra: of sg_hub, that installs the package.

    Raises:
        SgHubError: it is not installed, or has another version.
    """
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise missing(module, extra, error, what=f", whose {name} this network is,") from error


def check_levels(**given: Any) -> list[int]:
    """A whole number for each level of an encoder.

    Raises:
        InvalidInputError: fewer than two, or other things than whole numbers from 1 on.
    """
    [(name, values)] = given.items()
    if not isinstance(values, (list, tuple)) or not 2 <= len(values) <= _MOST_LEVELS:
        raise InvalidInputError(f"{name}={values!r}: expected 2 to {_MOST_LEVELS} whole numbers, one for each level")
    return [count for value in values for count in check_counts(**{name: value})]
