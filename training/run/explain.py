"""What a key of a TOML means and takes, and what is wrong with a value: for messages, and the tables in docs/reference.

The meaning of a key is the text below its field, its type the field's, and its example the field's, or its default.
"""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

_BOUNDS = (("gt", "above {}"), ("ge", "from {}"), ("lt", "below {}"), ("le", "to {}"))
_PLAIN = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Any: "anything"}
_PLURAL = {"a whole number": "whole numbers", "a number": "numbers", "a text": "texts"}
_OWN_WORDS = ("value_error", "assertion_error")


@dataclass(frozen=True)
class Key:
    """A key of a settings file."""

    place: str
    """With its section, such as `grid.spacing`."""
    field: FieldInfo

    @property
    def meaning(self) -> str:
        return " ".join((self.field.description or "").split())

    @property
    def expected(self) -> str:
        """What its value is, in words."""
        return expected(self.field)

    @property
    def default(self) -> str:
        """As it is written in TOML; empty where a key has to be given, or may be absent."""
        if self.field.is_required():
            return ""
        value = self.field.get_default(call_default_factory=True)
        return "" if value is None or isinstance(value, BaseModel) else toml_text(value)

    @property
    def example(self) -> str:
        """A line of TOML, with the key as it is written in its section; empty where there is none."""
        value = toml_text(self.field.examples[0]) if self.field.examples else self.default
        return f"{self.place.rpartition('.')[2]} = {value}" if value not in ("", '""', "[]", "{}") else ""


def keys_of(model: type[BaseModel], section: str = "") -> Iterator[Key]:
    """Every key, those of its sections with them."""
    for name, field in model.model_fields.items():
        place = f"{section}.{name}" if section else name
        inner = section_of(field)
        if inner is None:
            yield Key(place, field)
        else:
            yield from keys_of(inner, place)


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The settings that a field holds where it is a section."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def toml_text(value: Any) -> str:
    """A value as TOML has it on one line."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{_toml_key(str(key))} = {toml_text(one)}" for key, one in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_text, value))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False)


def _toml_key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else json.dumps(text, ensure_ascii=False)


# -- types in words ----------------------------------------------------------------------------------------------------


def expected(field: FieldInfo) -> str:
    """What the value of a field is, in words."""
    return _kind(field.annotation, field.metadata)


def _kind(kind: Any, metadata: Any = ()) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _kind(inner[0], (*inner[1:], *metadata))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind(one) for one in inner if one is not types.NoneType))
    if origin is Literal:
        shown = [toml_text(value) for value in inner]
        return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"
    if origin in (list, tuple):
        count = "" if origin is list or inner[-1] is Ellipsis else f"{len(inner)} "
        return f"a list of {count}{_plural(_kind(inner[0]))}"
    if origin is dict:
        return f"a table {{ name = {_kind(inner[1]).removeprefix('a ')} }}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "a section"
    return _PLAIN.get(kind, str(kind)) + _bounded(metadata)


def _plural(words: str) -> str:
    for one, many in _PLURAL.items():
        if words.startswith(one):
            return many + words.removeprefix(one)
    return words.replace("a list of", "lists of")


def _bounded(metadata: Any) -> str:
    found = {}
    metadata = [part for one in metadata for part in (one.metadata if isinstance(one, FieldInfo) else [one])]
    for one in metadata:
        for name, _ in _BOUNDS:
            value = getattr(one, name, None)
            if value is not None:
                found[name] = f"{value:g}"
    if pattern := next((one.pattern for one in metadata if getattr(one, "pattern", None)), None):
        return f" that matches {pattern}"
    return "".join(f" {words.format(found[name])}" for name, words in _BOUNDS if name in found)


# -- what is wrong -----------------------------------------------------------------------------------------------------


def problems(model: type[BaseModel], error: ValidationError) -> list[str]:
    """Everything that is wrong, each in a line that says what was given, what is expected, and what the key means."""
    found: dict[str, str] = {}
    misspelt = set()
    for problem in error.errors():
        place, key, rest = _walk(model, problem["loc"])
        found.setdefault(place, _problem(model, problem, place, key, rest))
        if problem["type"] == "extra_forbidden" and (near := _near(rest or model, place)):
            misspelt.add(near)
    missing = {_walk(model, problem["loc"])[0] for problem in error.errors() if problem["type"] == "missing"}
    return list(dict.fromkeys(line for place, line in found.items() if place not in missing & misspelt))


def _walk(model: type[BaseModel], loc: tuple[Any, ...]) -> tuple[str, Key | None, type[BaseModel] | None]:
    """Where a problem is, the key that it is of, and the section that it is in; of what is no key, that section."""
    place, key, section = "", None, model
    for part in loc:
        if isinstance(part, int):
            place += f"[{part}]"
        elif key is None or section_of(key.field) is not None:
            section = section_of(key.field) if key is not None else model  # type: ignore[assignment]
            place = f"{place}.{part}" if place else str(part)
            if part not in section.model_fields:
                return place, None, section
            key = Key(place, section.model_fields[part])
        elif get_origin(key.field.annotation) is dict and place == key.place:
            place = f"{place}.{part}"
    return place, key, section


def _problem(model: type[BaseModel], problem: Any, place: str, key: Key | None, section: type[BaseModel] | None) -> str:
    kind = problem["type"]
    if kind == "extra_forbidden":
        return f"{place}: there is no such key{_meant(model, section or model, place)}"
    if kind in _OWN_WORDS:
        words = str(problem["ctx"]["error"])
        named = key is None or section_of(key.field) is not None or words.startswith(place)
        return words if named else f"{place}: {words}"
    if key is None:
        return f"{place or 'top level'}: {problem['msg']}"
    if kind == "missing":
        few = "has too few values, expected" if place.endswith("]") else "is missing, expected"
        return f"{key.place} {few} {key.expected}{_explained(key)}"
    if section_of(key.field) is not None and place == key.place:
        return f"{place} = {toml_text(problem['input'])}: expected a section, written [{place}] with its keys below"
    return f"{place} = {_shown(problem['input'])}: expected {key.expected}{_explained(key)}"


def _shown(value: Any) -> str:
    try:
        text = toml_text(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _explained(key: Key) -> str:
    """What a key means, as far as its first sentence, and an example."""
    sentence = re.split(r"(?<=[.])\s", key.meaning, maxsplit=1)[0].rstrip(".")
    meaning = f" ({sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() else sentence})" if sentence else ""
    return meaning + (f", such as {key.example}" if key.example else "")


def _meant(model: type[BaseModel], section: type[BaseModel], place: str) -> str:
    """The key that may have been meant: of this section, or the same word in another; else the keys there are."""
    where, _, word = place.rpartition(".")
    if name := _near(section, place):
        field = section.model_fields[name.rpartition(".")[2]]
        about = f" (a section, [{name}])" if section_of(field) else _explained(Key(name, field))
        return f"; did you mean {name.rpartition('.')[2]}?{about}"
    everywhere = [key.place for key in keys_of(model)]
    elsewhere = [other for other in everywhere if other.rpartition(".")[2] == word]
    if elsewhere:
        sections = " or ".join(f"[{other.rpartition('.')[0]}]" for other in elsewhere)
        return f"; did you mean {' or '.join(elsewhere)}, in the section {sections}?"
    return f"; {f'[{where}]' if where else 'the file'} takes {', '.join(section.model_fields)}"


def _near(section: type[BaseModel], place: str) -> str:
    """The place of a key of the section that is called nearly like this one; empty where none is."""
    where, _, word = place.rpartition(".")
    close = difflib.get_close_matches(word, section.model_fields, 1)
    return ".".join(filter(None, (where, *close))) if close else ""
