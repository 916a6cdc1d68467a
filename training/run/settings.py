"""Settings in TOML: read, overridden and checked. Recipes and targets are such files."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from sg_hub.errors import InvalidInputError, ReadError

from .explain import problems

ROOT = Path(__file__).parent.parent
"""Of the training package."""
LARGEST = 2**63 - 1
"""What fits a whole number anywhere: torch, NumPy and the tables keep 64 bits."""
LONGEST_NAME = 100
_CALLED = {"recipes": "recipe", "targets/tasks": "target", "method_grid/grids": "grid"}
_NAME = re.compile(r"[^\W_]([\w.+() -]*[\w+)-])?")


def checked_name(text: str) -> str:
    """A name that files and folders are called by, and that stands on cards: it leads nowhere, and breaks no line.

    Raises:
        ValueError: it is none.
    """
    if not _NAME.fullmatch(text) or len(text) > LONGEST_NAME:
        raise ValueError(
            f"{text[:LONGEST_NAME]!r}: expected letters, digits, dots, dashes and underscores, a letter or digit first "
            f"(it names files and folders), at most {LONGEST_NAME} characters"
        )
    return text


Name = Annotated[str, AfterValidator(checked_name)]


class Section(BaseModel):
    """Settings of which unknown keys are errors, whose numbers are finite and no booleans, and which do not change.

    The text below a field is its description, which messages and docs/reference show.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, given: Any, info: ValidationInfo) -> Any:
        """pydantic takes true for 1."""
        field = cls.model_fields[info.field_name or ""]
        if _holds_truth(given) and not _takes_truth(field.annotation):
            raise PydanticCustomError("truth", "true and false are not expected")
        return given


def _holds_truth(given: Any) -> bool:
    return any(map(_holds_truth, given)) if isinstance(given, (list, tuple)) else isinstance(given, bool)


def _takes_truth(kind: Any) -> bool:
    return kind in (bool, Any) or any(map(_takes_truth, get_args(kind)))


Settings = TypeVar("Settings", bound=BaseModel)
OR_OWN = BeforeValidator(lambda given: None if given == "own" else given)
"""Of a spacing that may be none: "own" says so, for TOML has no word for it, and a base or weights may give one."""


def shipped(kind: str) -> list[str]:
    """Names of the settings of a kind (`recipes`, `targets/tasks`) that come with the package."""
    return sorted(Path(name).stem for name in shipped_files(kind))


def shipped_files(kind: str, suffix: str = ".toml") -> dict[str, Path]:
    """Files that come with the package, by their names, which are unique in a kind, whatever folder they lie in."""
    return {path.name: path for path in (ROOT / kind).rglob(f"*{suffix}")}


def read_toml(kind: str, name: str | Path) -> dict[str, Any]:
    """What a TOML file says, given by its path or by the name of a shipped one in the package's folder `kind`.

    Raises:
        InvalidInputError: no such file, or broken TOML.
        ReadError: it may not be read.
    """
    path = Path(name)
    if not path.is_file():
        path = shipped_files(kind).get(f"{name}.toml", path)
    if not path.is_file():
        what, names = _CALLED.get(kind, kind), shipped(kind)
        near = difflib.get_close_matches(Path(name).stem, names, n=1)
        such = f"did you mean {near[0]}?" if near else f"check the path. Those that ship are {', '.join(names)}"
        raise InvalidInputError(f"no {what} {str(name)!r}, no TOML file of that name: {such}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # TOML and text that are none, and numbers of thousands of digits
        raise InvalidInputError(f"{name}: {error}") from error
    except OSError as error:
        raise ReadError(f"{name} cannot be read ({error.strerror}): may you read it?") from error


def settings_of(
    model: type[Settings],
    values: dict[str, Any],
    name: str | Path,
    overrides: Sequence[str] = (),
    complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda values: values,
) -> Settings:
    """Settings of what was read, with `section.key=value` overrides (values in TOML).

    Args:
        name: of the file, for messages.
        complete: adds what the file and the overrides leave out.

    Raises:
        InvalidInputError: an unknown key, or a value of the wrong kind, which is named with the file.
    """
    try:
        for override in overrides:
            values = _overridden(values, override)
        for place, value in _whole_numbers(values):
            if not -LARGEST <= value <= LARGEST:
                raise InvalidInputError(f"{place}: a whole number of {value.bit_length()} bits; 63 are the most")
        return model.model_validate(complete(values))
    except InvalidInputError as error:
        raise InvalidInputError(f"{name}: {error}") from None
    except ValidationError as error:
        raise InvalidInputError(f"{name}: {'; '.join(problems(model, error))}") from error


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
