"""Target-task test patients are never in the pre-training set: the check.

Weights carry a short hash of every patient that they were pre-trained on, so that the check needs no list of names. Of
weights that carry none, or whose patients have other names in the target's data set, it says that it cannot tell.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sg_hub.errors import InvalidInputError

SAME_PATIENTS = (frozenset({"luna16", "lidc-idri"}), frozenset({"chestxray14", "siim-acr"}))
"""Data sets that were made of the same patients, under other names."""


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


def check_unseen(provenance: Mapping[str, Any], dataset: str, test: Iterable[str]) -> str:
    """Refuse test patients that the weights were pre-trained on.

    Args:
        provenance: of the weights; its `patients` are hashes, its `datasets` short names.
        dataset: of the target.
        test: patients as DATASET/NAME, under every name that they have.

    Returns:
        why it cannot be told whether all of them are unseen; empty where it can.

    Raises:
        InvalidInputError: naming the patients.
    """
    names = list(test)
    if "patients" not in provenance:
        return "these weights do not say which patients they were pre-trained on"
    seen = set(provenance["patients"])
    leaked = sorted(name for name in names if _hash(name) in seen)
    if leaked:
        raise InvalidInputError(
            f"{len(leaked)} test patients were in the pre-training set of these weights ({', '.join(leaked[:5])}): "
            "test on other patients, or use weights that did not see them"
        )
    related = any(dataset in group for group in SAME_PATIENTS)
    if seen and related and "datasets" not in provenance:
        return f"these weights do not say in which data sets they saw their patients, who may be those of {dataset}"
    known = {name.partition("/")[0] for name in names}
    for other in provenance.get("datasets", ()):
        if other not in known and any({other, dataset} <= group for group in SAME_PATIENTS):
            return f"these weights were pre-trained on {other}, which has patients of {dataset} under other names"
    return ""


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:10]
