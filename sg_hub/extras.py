"""Packages that are there where an extra of sg_hub was installed."""

from __future__ import annotations

import importlib
from typing import Any

from sg_hub.errors import SgHubError, shortened


def from_extra(module: str, extra: str) -> Any:
    """A module of another package, imported now.

    Args:
        module: its full name.
        extra: of sg_hub, that installs the package.

    Raises:
        SgHubError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, AttributeError, RuntimeError) as error:  # of versions that do not go together, too
        raise missing(module, extra, error) from error


def missing(module: str, extra: str, error: Exception, what: str = "") -> SgHubError:
    """What is said of a module that cannot be imported, and the extra that installs it. what: it is for."""
    package, reason = module.partition(".")[0], shortened(error, 160)
    return SgHubError(f"{package}{what} cannot be used ({reason}): pip install 'sg_hub[{extra}]'")
