"""Who is trained, validated and tested on: official parts, a CSV, or drawn by patient; and fractions of the labels."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sg_hub.errors import InvalidInputError, ReadError, shortened

from ..data.csv_table import read_csv
from ..data.leakage import name_hashes
from ..data.split_table import split_file
from ..run.recipe import Split
from ..run.seeds import rng
from .items import Found, Item

if TYPE_CHECKING:
    from .protocol import Target

PARTS: tuple[Split, ...] = ("train", "validation", "test")


def draw_split(target: Target, found: Found, seen: Collection[str] = ()) -> Found:
    """Give every item its part.

    The CSV of `splits.file` comes first (items of patients that it does not name are skipped, with the reason), then
    the official parts, then a draw by patient. An official split without validation gets one out of its train part.

    Args:
        seen: hashes of patients who are not tested on, whatever the parts are: those whom weights were pre-trained on.

    Raises:
        InvalidInputError: a patient in two parts, or a part without patients.
    """
    items, skipped = found.items, dict(found.skipped)
    if target.splits.file is not None:
        try:
            given = read_split(target.splits.file)
        except ReadError as error:
            raise ReadError(f"target {target.name}, splits.file: {error}") from error
        for item in items:
            if item.patient not in given:
                skipped[item.name] = f"patient {item.patient} is not in {target.splits.file}"
        items = [replace(item, split=given[item.patient]) for item in items if item.patient in given]
    seed, dataset = target.splits.seed, target.dataset
    unsaid = [item for item in items if item.split is None]
    if 0 < len(unsaid) < len(items):
        raise InvalidInputError(
            f"target {target.name}: {len(unsaid)} of {len(items)} items have no split, such as {unsaid[0].name}: fill "
            "the column for all of them, or leave it out"
        )
    pretrained = _pretrained(target, items, seen)
    if unsaid:
        names = _in_order({item.patient for item in items}, dataset, seed)
        count = _count(len(names), target.splits.test)
        tested = set([name for name in names if name not in pretrained][:count])
        items = [replace(item, split="test" if item.patient in tested else "train") for item in items]
    else:
        moved = {item.patient for item in items if item.split == "test"} & pretrained
        items = [replace(item, split="train") if item.patient in moved else item for item in items]
    if not any(item.split == "validation" for item in items):
        names = _in_order({item.patient for item in items if item.split == "train"}, dataset, seed)
        held = set(names[: _count(len(names), target.splits.validation)])
        items = [replace(c, split="validation") if c.split == "train" and c.patient in held else c for c in items]
    _check(target, items, skipped, len(pretrained))
    return Found(items, skipped, len(pretrained))


def _pretrained(target: Target, items: list[Item], seen: Collection[str]) -> set[str]:
    """Patients under one of whose names somebody was pre-trained on."""
    known = frozenset(seen)
    return {item.patient for item in items if not known.isdisjoint(name_hashes(item.identities(target.dataset)))}


def _check(target: Target, items: list[Item], skipped: Mapping[str, str], pretrained: int) -> None:
    parts: dict[str, set[str]] = defaultdict(set)
    for item in items:
        parts[item.patient].add(str(item.split))
    torn = sorted(patient for patient, found in parts.items() if len(found) > 1)
    if torn:
        raise InvalidInputError(
            f"target {target.name}: patient {torn[0]} is in {' and in '.join(sorted(parts[torn[0]]))}"
            f"{f' (and {len(torn) - 1} more patients)' if len(torn) > 1 else ''}: patients, not images, are split: "
            "give all that is of a patient one part in the column split"
        )
    for part in PARTS:
        if not any(item.split == part for item in items):
            seen = (
                f", {pretrained} of {len(parts)} patients were pre-trained on and are not tested" if pretrained else ""
            )
            if len(parts) == 1 < len(items):  # as where a program wrote one PatientID into all files
                seen += f"; all are of the patient {shortened(repr(items[0].patient), 40)}: where that is not so, give "
                seen += "a table with the columns image and patient"
            reasons = "".join(f"; {name}: {why}" for name, why in list(skipped.items())[:5])
            raise InvalidInputError(
                f"target {target.name}: no item is left for {part} ({len(items)} items of {len(parts)} patients found, "
                f"{len(skipped)} skipped{seen}), and patients are split, never their items: give more patients, or "
                f"splits.file=CSV with the columns patient and split{reasons}"
            )


def _in_order(patients: Iterable[str], dataset: str, seed: int) -> list[str]:
    """By a hash of the name: a patient keeps its place whichever others are there, and in every task of a data set."""
    return sorted(patients, key=lambda name: hashlib.sha256(f"split/{seed}/{dataset}/{name}".encode()).hexdigest())


def _count(patients: int, share: float) -> int:
    return min(patients - 1, max(1, round(share * patients))) if share > 0 else 0


def read_split(path: str) -> dict[str, Split]:
    """Patient to part, of a CSV with the columns patient and split; of that name among the recipes, or any file.

    Raises:
        ReadError: missing or damaged, or other columns.
        InvalidInputError: another part, or two for one patient.
    """
    given: dict[str, Split] = {}
    for row in read_csv(split_file(path), ("patient", "split")):
        part = next((known for known in PARTS if known == row["split"]), None)
        if part is None:
            whose = f"split {shortened(row['split'], 80)!r} of patient {shortened(row['patient'], 80)}"
            raise InvalidInputError(f"{path}: {whose}; expected {PARTS}")
        if given.setdefault(row["patient"], part) != part:
            raise InvalidInputError(
                f"{path}: patient {row['patient']} is in {given[row['patient']]} and in {part}: leave one of the rows"
            )
    return given


def check_fraction(fraction: float) -> None:
    """Refuse a share of the labels that is none.

    Raises:
        InvalidInputError: not above 0, or above 1.
    """
    if not 0 < fraction <= 1:
        raise InvalidInputError(f"label fraction {fraction:g}: expected a number above 0, up to 1")


def label_fraction(items: list[Item], fraction: float, *place: int | str) -> list[Item]:
    """The items of a share of the patients: a smaller share of the same place lies within a larger one.

    Where items have classes, patients are taken from each group alike: by the rarest class, over all items, that a
    patient has. Every group keeps at least one.

    Args:
        items: of the train part.
        fraction: of the patients, above 0, up to 1.
        place: what the order of the patients is drawn from (target, trial).

    Raises:
        InvalidInputError: a fraction that is none.
    """
    check_fraction(fraction)
    groups: dict[int, list[str]] = defaultdict(list)
    for patient, group in sorted(_groups(items).items()):
        groups[group].append(patient)
    kept: set[str] = set()
    for group, patients in sorted(groups.items()):
        order = rng("label fraction", group, *place).permutation(len(patients))
        kept |= {patients[i] for i in order[: max(1, math.ceil(fraction * len(patients) - 1e-9))]}
    return [item for item in items if item.patient in kept]


def few_patients(
    items: list[Item],
    count: int,
    classes: Callable[[Item], Collection[int]],
    wanted: Collection[int],
    *place: int | str,
) -> list[Item]:
    """The items of some patients: fewer of the same place lie within more.

    The first ones have all the classes that are wanted, as soon as may be; the others come at random.

    Args:
        items: of the train part.
        count: patients, from 1 to all.
        classes: which an item has.
        place: what the order of the patients is drawn from (target, trial).

    Raises:
        InvalidInputError: there are fewer patients.
    """
    of: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        of[item.patient].append(item)
    if not 1 <= count <= len(of):
        raise InvalidInputError(f"{count} labelled patients: expected 1 to {len(of)}, which is all who are trained on")
    names = sorted(of)
    rest = [names[i] for i in rng("few patients", *place).permutation(len(names))]
    held: dict[str, set[int]] = {}
    first: list[str] = []
    missing = set(wanted)
    while missing and rest:
        best, most = "", 0
        for patient in rest:
            if patient not in held:
                held[patient] = {number for item in of[patient] for number in classes(item)}
            gained = len(missing & held[patient])
            if gained > most:
                best, most = patient, gained
            if gained == len(missing):
                break
        if not best:
            break
        first.append(best)
        rest.remove(best)
        missing -= held[best]
    kept = set([*first, *rest][:count])
    return [item for item in items if item.patient in kept]


def _groups(items: list[Item]) -> dict[str, int]:
    """The rarest class of each patient; -1 where there are no classes."""
    classes: dict[str, set[int]] = defaultdict(set)
    for item in items:
        if isinstance(item.label, int):
            classes[item.patient].add(item.label)
        elif isinstance(item.label, tuple):
            classes[item.patient] |= {i for i, value in enumerate(item.label) if value}
        else:
            classes[item.patient] |= set()
    counts: dict[int, int] = defaultdict(int)
    for found in classes.values():
        for number in found:
            counts[number] += 1
    return {
        patient: min(found, key=lambda number: (counts[number], number)) if found else -1
        for patient, found in classes.items()
    }
