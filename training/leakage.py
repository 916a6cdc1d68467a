"""Target-task test patients are never in the pre-training set: the check.

Weights carry a short hash of every patient that they were pre-trained on, so that the check needs no list of names.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sg_hub.errors import InvalidInputError


def patient_hashes(dataset: str, patients: Iterable[str]) -> list[str]:
    """Ten hexadecimal digits per patient, sorted; equal for the same name in the same data set."""
    return sorted(_hash(f"{dataset}/{patient}") for patient in patients)


def check_disjoint(parts: Mapping[str, Sequence[str]]) -> None:
    """Refuse parts (train, validation, test) that share patients.

    Raises:
        InvalidInputError: naming the parts and patients.
    """
    for first, second in itertools.combinations(parts, 2):
        both = sorted(set(parts[first]) & set(parts[second]))
        if both:
            raise InvalidInputError(f"{len(both)} patients are in {first} and in {second}: {', '.join(both[:5])}")


def check_unseen(provenance: dict[str, Any], test: Iterable[str]) -> None:
    """Refuse test patients that the weights were pre-trained on.

    Args:
        provenance: of the weights; its `patients` are hashes.
        test: patients as DATASET/NAME, under every name that they have.

    Raises:
        InvalidInputError: naming the patients.
    """
    seen = set(provenance.get("patients", ()))
    leaked = sorted(name for name in test if _hash(name) in seen)
    if leaked:
        raise InvalidInputError(
            f"{len(leaked)} test patients were in the pre-training set of these weights ({', '.join(leaked[:5])}): "
            "test on other patients, or use weights that did not see them"
        )


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:10]
