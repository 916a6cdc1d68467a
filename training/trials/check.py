"""sg-hub check: everything that is wrong with a target and its files, before hours of work, and all of it at once."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from sg_hub.errors import InputsError, InvalidInputError, SgHubError

from ..targets import Item, Target, in_parts, load_target
from ..targets.on_grid import fit_labels
from .task.initialisation import Initialisation, look_up, say_taken
from .task.item_arrays import pixel_hash
from .task.metrics import overlap
from .task.prepared_task import check_seen, copies, scored_classes

_NAMED = 5
"""Items that are named of those with the same fault."""
_SHOWN = 5
"""Faults of files that are told apart."""
_COMPARED = 10
"""Items whose labels are held against themselves on the target's grid."""
_FINE = 0.95
"""Dice that a grid must leave possible for nothing to be said of it."""


class TargetError(InputsError):
    """What is wrong with a target: each thing by itself, then how many they are; of one its message."""

    def __init__(self, errors: Sequence[SgHubError], target: str) -> None:
        super().__init__(errors, len(errors))
        self.args = (f"{target}: {len(errors)} things to put right",)
        if len(errors) == 1:
            self.args = (str(errors[0]),)


def check(name: str, overrides: Sequence[str] = (), init: str | None = None, *, progress: bool = True) -> str:
    """Read a target, and every one of its items; returns what there is, in lines.

    Args:
        init: weights that are to be fine-tuned on it.

    Raises:
        TargetError: everything that is wrong.
    """
    wrong: list[SgHubError] = []
    start = None
    try:
        start = look_up(init) if init is not None else None
    except SgHubError as error:
        wrong.append(error)
    try:
        target = load_target(name, overrides, weights=[start.config["preprocessing"]] if start else ())
    except SgHubError as error:
        raise TargetError([*wrong, error], name) from error
    if start is not None:
        if start.ndim == target.ndim:
            say_taken(target, start.init)
        wrong += _fits(start, target)
    items, skipped, split = _items(target, wrong)
    unreadable, present, pixels, most = _read(target, items, progress)
    wrong += [*unreadable, *_absent(target, items if split else [], present)]
    if start is not None and start.ndim == target.ndim and split:
        _try(wrong, lambda: check_seen([start], target, items, progress=progress))
    if wrong:
        raise TargetError(wrong, name)
    copied = copies(target, items, pixels)
    lines = [f"{target.name}: {_counted(items)}, {'with copies' if copied else 'nothing is wrong'}"]
    lines += [f"  warning: {copied}"] if copied else []
    lines += [f"  {part}: {_counted(found)}" for part, found in in_parts(items).items()]
    lines += [f"  warning: {said}" for said in _coarse(target, most)]
    reasons: dict[str, list[str]] = defaultdict(list)
    for item, why in skipped.items():
        reasons[why].append(item)
    lines += [f"  left out: {len(names)}, such as {names[0]}: {why}" for why, names in reasons.items()]
    return "\n".join(lines)


def _counted(items: list[Item]) -> str:
    patients = len({item.patient for item in items})
    return f"{len(items)} item{'s' * (len(items) != 1)} of {patients} patient{'s' * (patients != 1)}"


def _try(wrong: list[SgHubError], work: Callable[[], Any]) -> None:
    try:
        work()
    except SgHubError as error:
        wrong.append(error)


def _fits(start: Initialisation, target: Target) -> list[SgHubError]:
    wrong: list[SgHubError] = []
    if start.ndim != target.ndim:
        return [
            InvalidInputError(
                f"{start.init} is a {start.ndim}D network, and the target takes a {target.ndim}D one: give weights "
                f"such as semantic-genesis-{target.ndim}d-tiny"
            )
        ]
    _try(wrong, lambda: start.check_fits(target))
    _try(wrong, lambda: target.preprocessing("CT"))
    return wrong


def _items(target: Target, wrong: list[SgHubError]) -> tuple[list[Item], dict[str, str], bool]:
    """The items, those that are left out, and whether they are split; they are not where that is what is wrong."""
    try:
        found = target.split_items()
    except SgHubError as error:
        wrong.append(error)
    else:
        _try(wrong, lambda: scored_classes(target, found.items))
        return found.items, found.skipped, True
    try:
        found = target.find()
    except SgHubError:  # which is what split_items said
        return [], {}, False
    return found.items, found.skipped, False


def _read(
    target: Target, items: list[Item], progress: bool
) -> tuple[list[SgHubError], dict[str, set[int]], dict[str, str], list[list[float]]]:
    """What is wrong with the files, the classes in each of the label maps, hashes of the images, and of some items the
    highest Dice of each class."""
    faults: dict[str, list[tuple[SgHubError, str]]] = defaultdict(list)  # by their words, but for the files' names
    present: dict[str, set[int]] = {}
    pixels: dict[str, str] = {}
    most: list[list[float]] = []
    for item in tqdm(items, "reading", unit="item", disable=not progress, leave=False):
        try:
            loaded = target.load(item)
            if loaded.image.shape[0] != target.channels:
                raise InvalidInputError(
                    f"{item.image} has {loaded.image.shape[0]} channels, the target channels = {target.channels}"
                )
        except SgHubError as error:
            words = str(error)
            same = words.replace(str(item.image), "").replace(str(item.label), "")
            named = error if item.name in words else InvalidInputError(f"{item.name}: {words}")
            faults[same].append((named, item.name))
            continue
        pixels[item.name] = pixel_hash(loaded.image)
        if loaded.drawn is not None and len(most) < _COMPARED:
            most.append(overlap(fit_labels(loaded.label, loaded.drawn.shape), loaded.drawn, len(target.classes))[1])
        present[item.name] = {int(value) for value in np.unique(loaded.label)} if loaded.label.ndim > 1 else set()
    wrong: list[SgHubError] = [
        InvalidInputError(f"{found[0][0]} ({_same_of([name for _, name in found], len(items))})")
        for found in faults.values()
    ]
    if len(wrong) > _SHOWN:
        left = sum(map(len, [*faults.values()][_SHOWN:]))
        wrong = [*wrong[:_SHOWN], InvalidInputError(f"and {left} more of {len(items)} items cannot be used")]
    return wrong, present, pixels, most


def _same_of(names: list[str], items: int) -> str:
    """Of which items something is wrong, and how they are left out."""
    if len(names) > _NAMED:
        return f"the same of {len(names)} of {items} items: {', '.join(names[:_NAMED])} and others"
    same = f"the same of {len(names)} of {items} items; " if len(names) > 1 else ""
    return f"{same}exclude = {json.dumps(names, ensure_ascii=False)} in the TOML leaves out what cannot be mended"


def _coarse(target: Target, most: list[list[float]]) -> list[str]:
    """What is said where edges between the voxels of the target's grid cost much of the Dice.

    Args:
        most: Dice of each class of some items if a network were right in every voxel of that grid.
    """
    classes = [[value for value in values if not np.isnan(value)] for values in zip(*most, strict=True)]
    reached = {name: np.mean(of) for name, of in zip(target.classes, classes, strict=True) if of} if most else {}
    if not reached or min(reached.values()) >= _FINE:
        return []
    named = ", ".join(f"{name} {value:.2f}" for name, value in reached.items())
    grid = f" of {' x '.join(f'{side:g}' for side in target.voxel)} mm" if target.voxel else ""
    return [
        f"the target's grid{grid} is coarse for these labels: Dice on the scans' own grid, if a network were right in "
        f"every voxel of the target's: {named} (of {len(most)} items); a finer grid.spacing takes more memory and time"
    ]


def _absent(target: Target, items: list[Item], present: dict[str, set[int]]) -> list[SgHubError]:
    """Classes that occur in no label map of a part."""
    if target.head != "segmentation" or not present:
        return []
    anywhere: set[int] = set().union(*present.values())
    nowhere = [name for number, name in enumerate(target.classes, 1) if number not in anywhere]
    wrong: list[SgHubError] = []
    if nowhere:
        named = ", ".join(map(repr, nowhere))
        wrong.append(
            InvalidInputError(
                f"no label map has the class {named} on the target's grid: say in `values` which number it has, "
                "leave it "
                "out of `classes`, or give a finer grid.spacing"
            )
        )
    for part, found in in_parts(items).items():
        there: set[int] = set().union(*(present.get(item.name, set()) for item in found))
        numbered = enumerate(target.classes, 1)
        names = [name for number, name in numbered if number not in there and name not in nowhere]
        if found and names:
            wrong.append(
                InvalidInputError(
                    f"no label map of the {part} part ({len(found)} items) has the class "
                    f"{', '.join(map(repr, names))} on the target's grid: say in `values` which number it has, give "
                    "more items, another splits.seed, or a finer grid.spacing"
                )
            )
    return wrong
