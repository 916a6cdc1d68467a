"""Settings in TOML: read, overridden and checked. Recipes and targets are such files."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sg_hub.errors import InvalidInputError, ReadError

ROOT = Path(__file__).parent.parent
"""Of the training package."""
LARGEST = 2**63 - 1
"""What fits a whole number anywhere: torch, NumPy and the tables keep 64 bits."""


class Section(BaseModel):
    """Settings of which unknown keys are errors, whose numbers are finite, and which do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Settings = TypeVar("Settings", bound=BaseModel)


def shipped(kind: str) -> list[str]:
    """Names of the settings of a kind (`recipes`, `targets/tasks`) that come with the package."""
    return sorted(path.stem for path in (ROOT / kind).glob("*.toml"))


def read_toml(kind: str, name: str | Path) -> dict[str, Any]:
    """What a TOML file says, given by its path or by the name of a shipped one in the package's folder `kind`.

    Raises:
        InvalidInputError: no such file, or broken TOML.
        ReadError: it may not be read.
    """
    path = Path(name)
    if not path.is_file():
        path = ROOT / kind / f"{name}.toml"
    if not path.is_file():
        what = kind.partition("/")[0].removesuffix("s")
        raise InvalidInputError(f"no {what} {str(name)!r}: give a TOML file or one of {', '.join(shipped(kind))}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # TOML and text that are none, and numbers of thousands of digits
        raise InvalidInputError(f"{name}: {error}") from error
    except OSError as error:
        raise ReadError(f"{name} cannot be read ({error.strerror}): may you read it?") from error


def settings_of(
    model: type[Settings], values: dict[str, Any], name: str | Path, overrides: Sequence[str] = ()
) -> Settings:
    """Settings of what was read, with `section.key=value` overrides (values in TOML).

    Args:
        name: of the file, for messages.

    Raises:
        InvalidInputError: an unknown key, or a value of the wrong kind, which is named with the file.
    """
    try:
        for override in overrides:
            values = _overridden(values, override)
        for place, value in _whole_numbers(values):
            if not -LARGEST <= value <= LARGEST:
                raise InvalidInputError(f"{place}: a whole number of {value.bit_length()} bits; 63 are the most")
        return model.model_validate(values)
    except InvalidInputError as error:
        raise InvalidInputError(f"{name}: {error}") from None
    except ValidationError as error:
        problems = "; ".join(_problem(model, problem) for problem in error.errors())
        raise InvalidInputError(f"{name}: {problems}") from error


def _overridden(values: Any, override: str) -> dict[str, Any]:
    """A copy in which one key has another value."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise InvalidInputError(f"override {override!r}: write section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text  # a bare word is a string
    return _with(values, key.split("."), value, override)


def _with(values: dict[str, Any], place: list[str], value: Any, override: str) -> dict[str, Any]:
    first, *rest = place
    if rest:
        section = values.get(first, {})
        if not isinstance(section, dict):
            raise InvalidInputError(f"override {override!r}: {first!r} is not a section")
        value = _with(section, rest, value, override)
    return {**values, first: value}


def _whole_numbers(values: Any, place: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _whole_numbers(value, f"{place}.{key}" if place else key)
    elif isinstance(values, list):
        for value in values:
            yield from _whole_numbers(value, place)
    elif isinstance(values, int):
        yield place, values


def _problem(model: type[BaseModel], problem: Any) -> str:
    """One line of pydantic's, with the key that may have been meant."""
    place = [str(part) for part in problem["loc"]]
    text = f"{'.'.join(place) or 'top level'}: {problem['msg']}"
    if problem["type"] == "extra_forbidden":
        close = difflib.get_close_matches(place[-1], _keys(model, place[:-1]), 1)
        text += f"; did you mean {close[0]}?" if close else ""
    return text


def _keys(model: type[BaseModel], place: list[str]) -> list[str]:
    """Of the section at a place; none where it is not one of the model's."""
    for part in place:
        section = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return []
        model = section
    return list(model.model_fields)
