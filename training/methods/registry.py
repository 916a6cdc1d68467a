"""Which methods there are. A method's file is imported when it is asked for, and no other."""

from __future__ import annotations

import difflib
import json
import pkgutil
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError

from ..run.folder.record import recorded
from ..run.recipe import MethodSection, Recipe, resolved, with_newer_keys
from ..run.settings import settings_of
from .protocol import Method
from .with_semantics import WithSemantics, settings_with

GROUP = "sg_hub.methods"
"""Entry points of other packages that are methods."""
_NO_METHODS = {"blueprint", "info_nce", "protocol", "registry", "restoring", "with_semantics"}


def methods() -> list[str]:
    """Names of all methods: those that come with the package, and those of other packages."""
    return sorted(_shipped() | _announced().keys())


def method_class(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        InvalidInputError: there is none of that name, or a package's method cannot be imported.
    """
    if name not in methods():
        near = difflib.get_close_matches(name, methods(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InvalidInputError(f"method.name={name!r}: {hint}There are {', '.join(methods())}")
    if name in _shipped():
        module = import_module(f".{name}", __package__)
        found = [value for value in vars(module).values() if _is_method(value) and value.__module__ == module.__name__]
        return next(value for value in found if value.name == name)
    announced = _announced()[name]
    try:
        method = announced.load()
    except Exception as error:  # whatever is wrong in another package
        raise InvalidInputError(
            f"method.name={name!r}: {announced.value} cannot be imported ({type(error).__name__}: {error}): "
            f"mend or uninstall the package that announces it under {GROUP}"
        ) from error
    if not _is_method(method) or method.name != name:
        raise InvalidInputError(f"method.name={name!r}: {announced.value} is no Method of that name")
    return method


def build(section: dict[str, Any]) -> Method:
    """The method of a recipe's section `[method]`.

    Raises:
        InvalidInputError: no such method, a key that it does not have, or a value of the wrong kind.
    """
    kind = method_class(section["name"])
    semantics = section.get("semantics", False)
    if semantics and not kind.takes_semantics:
        raise InvalidInputError(
            f"method.semantics=true: {kind.name} has patterns already, or restores nothing that they could be "
            "added to; leave it out"
        )
    model = settings_with(kind.Settings) if semantics else kind.Settings
    settings = settings_of(model, section, f"[method], {kind.name}")
    return WithSemantics(kind(settings)) if semantics else kind(settings)


def method_of(recipe: Recipe | dict[str, Any]) -> Method:
    """The method of a recipe, or of a resolved one as records hold it, today's form or the older one.

    Raises:
        InvalidInputError: as `build`.
    """
    section = recipe.method.model_dump() if isinstance(recipe, Recipe) else with_newer_keys(recipe)["method"]
    return build(section)


def resolve(recipe: Recipe) -> Recipe:
    """The recipe with every setting of its method, so that records hold them and mistakes are seen at once.

    Raises:
        InvalidInputError: as `build`.
    """
    settings = method_of(recipe).settings.model_dump()
    return recipe.model_copy(update={"method": MethodSection(**settings)})


def recorded_recipe(recipe: Recipe, step: str) -> dict[str, Any]:
    """The recipe that a step's record holds, with today's keys: newer ones had no other value than their default.
    Empty where there is no record, or one of a recipe that is none any more."""
    try:
        return resolved(resolve(Recipe.model_validate(recorded(recipe, step)["recipe"])))
    except (KeyError, ValueError):
        return {}


def settings_then(recipe: Recipe, step: str, *places: str) -> str:
    """Which settings were others when a step was done, as they were then; empty where none was, or it has no record.

    Args:
        places: sections of the recipe, or single settings, as `pretrain.size`.
    """
    then, now = recorded_recipe(recipe, step), resolved(resolve(recipe))
    found = []
    for section, _, key in (place.partition(".") for place in places if then):
        for each in [key] if key else sorted(then[section].keys() | now[section].keys()):
            if then[section].get(each) != now[section].get(each):
                found.append(f"{section}.{each}={json.dumps(then[section].get(each))}")
    return ", ".join(found)


def _shipped() -> set[str]:
    return {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])} - _NO_METHODS


def _announced() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _is_method(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Method) and value is not Method
