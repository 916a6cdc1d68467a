"""Target-task test patients are never in the pre-training set: the check.

Weights carry a short hash of every patient that they were pre-trained on, by the name in the data set, and of every
image, by its content and the identifiers in its file; so the check needs no list of names, and holds whatever the data
set is called. Where neither names nor images can say it, it says that it cannot tell.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sg_hub.errors import InvalidInputError

SAME_PATIENTS = (frozenset({"luna16", "lidc-idri"}), frozenset({"chestxray14", "siim-acr"}))
"""Data sets that were made of the same patients, under other names."""
PUBLIC = frozenset(
    {"brats2018", "chestxray14", "covid-cxr", "lidc-idri", "lits", "luna16", "msd-hippocampus", "openkbp", "siim-acr"}
)
"""Data sets whose short name is known: two of them share no patients but those above. Any other name is a user's own,
and says nothing of whose images they are."""


def patient_hashes(dataset: str, patients: Iterable[str]) -> list[str]:
    """Ten hexadecimal digits per patient, sorted; equal for the same name in the same data set."""
    return name_hashes(f"{dataset}/{patient}" for patient in patients)


def name_hashes(names: Iterable[str]) -> list[str]:
    """The same of patients as DATASET/NAME."""
    return sorted(_hash(name) for name in names)


def check_disjoint(parts: Mapping[str, Sequence[str]]) -> None:
    """Refuse parts (train, validation, test) that share patients.

    Raises:
        InvalidInputError: naming the parts and patients.
    """
    for first, second in itertools.combinations(parts, 2):
        both = sorted(set(parts[first]) & set(parts[second]))
        if both:
            raise InvalidInputError(f"{len(both)} patients are in {first} and in {second}: {', '.join(both[:5])}")


def check_unseen(
    provenance: Mapping[str, Any],
    dataset: str,
    test: Iterable[str],
    images: Mapping[str, Collection[str]] | None = None,
) -> str:
    """Refuse test patients that the weights were pre-trained on.

    Args:
        provenance: of the weights: hashes of their `patients` and `images`, and their `datasets`.
        dataset: of the target.
        test: patients as DATASET/NAME, under every name that they have.
        images: what each test item is known by (`identity.image_hashes`), by its name; none where that cannot be told.

    Returns:
        why it cannot be told whether all of them are unseen; empty where it can.

    Raises:
        InvalidInputError: naming the patients, or the items.
    """
    names, seen = list(test), set(provenance.get("patients", ()))
    leaked = sorted(name for name in names if _hash(name) in seen)
    known = set(provenance.get("images", ()))
    same = sorted(item for item, hashes in (images or {}).items() if not known.isdisjoint(hashes))
    if leaked or same:
        number, what = (len(leaked), "patients were") if leaked else (len(same), "images (or their patients) were")
        raise InvalidInputError(
            f"{number} test {what} in the pre-training set of these weights ({', '.join((leaked or same)[:5])}): "
            "test on other patients, or use weights that did not see them"
        )
    if "patients" not in provenance:
        return "these weights do not say which patients they were pre-trained on"
    if not seen:
        return ""  # never trained
    related = any(dataset in group for group in SAME_PATIENTS)
    if related and "datasets" not in provenance:
        return f"these weights do not say in which data sets they saw their patients, who may be those of {dataset}"
    sets, own = set(provenance.get("datasets", PUBLIC)), {name.partition("/")[0] for name in names}
    if other := _same_under_other_names(sets - own, dataset):
        return f"these weights were pre-trained on {other}, which has patients of {dataset} under other names"
    if told_by_name(provenance, dataset, names) or (known and images and all(images.values())):
        return ""
    trained_on = ", ".join(sorted(provenance.get("datasets", ()))) or "data without a name"
    return (
        f"whether patients of {dataset} are among those that these weights were pre-trained on ({trained_on}) cannot "
        "be told: neither names nor images say it"
    )


def told_by_name(provenance: Mapping[str, Any], dataset: str, test: Iterable[str]) -> bool:
    """Whether names alone say that test patients (DATASET/NAME) are unseen: no image need be compared.

    A user's own data set may name its patients anew; where the weights say which images they saw, these are compared.
    """
    sets, own = set(provenance.get("datasets", PUBLIC)), {name.partition("/")[0] for name in test}
    named_alike = own & PUBLIC if provenance.get("images") else own
    known = all(other in named_alike or {other, dataset} <= PUBLIC for other in sets)
    return bool(sets) and known and not _same_under_other_names(sets - own, dataset)


def _same_under_other_names(datasets: Iterable[str], dataset: str) -> str:
    """One of the data sets that was made of the same patients as another; empty where none was."""
    return next((other for other in sorted(datasets) if any({other, dataset} <= g for g in SAME_PATIENTS)), "")


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:10]
