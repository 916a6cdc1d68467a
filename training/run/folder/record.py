"""The record that each step of a run writes beside its result: everything that determined it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from sg_hub.errors import ReadError
from sg_hub.io.files import write_json

from ..recipe import Recipe, resolved
from .checksums import opened, sealed
from .environment import commit, machine, versions


def read_json(path: Path, made_by: str) -> dict[str, Any]:
    """A JSON object that an earlier step wrote.

    Raises:
        ReadError: it is not there, naming the step, or it is damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("not an object")
        return opened(value)
    except FileNotFoundError:
        raise ReadError(f"{path} is not there yet: run `sg-hub {made_by}` first") from None
    except OSError as error:
        raise ReadError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{path} is damaged ({error}): remove it and run `sg-hub {made_by}` again") from error


def record(recipe: Recipe, step: str, *files: Path, **more: Any) -> dict[str, Any]:
    """Who, what and with which versions: `<run>/<step>.json`, written after the result of `step`, which is done by it.

    Args:
        files: of the result, whose checksums are recorded for `checksums.check_file`.

    Raises:
        ReadError: it cannot be written.
    """
    value = {
        "step": step,
        "recipe": resolved(recipe),
        "versions": versions(),
        "machine": machine(),
        "commit": commit(),
        "written": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        **more,
    }
    write_json(recipe.run_dir / f"{step}.json", sealed(value, *files))
    return value


def recorded(recipe: Recipe, step: str) -> dict[str, Any]:
    """What `record` wrote of a step; empty where it did not get that far."""
    try:
        return read_json(recipe.run_dir / f"{step}.json", step)
    except ReadError:
        return {}
