"""Target-task test patients are never in the pre-training set: the check.

Weights carry a short hash of every patient that they were pre-trained on, so that the check needs no list of names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from sg_hub.errors import InvalidInputError


def patient_hashes(dataset: str, patients: Iterable[str]) -> list[str]:
    """Ten hexadecimal digits per patient, sorted; equal for the same name in the same data set."""
    return sorted(hashlib.sha256(f"{dataset}/{patient}".encode()).hexdigest()[:10] for patient in patients)


def check_disjoint(parts: dict[str, list[str]]) -> None:
    """Refuse parts (train, validation, test) that share patients.

    Raises:
        InvalidInputError: naming the parts and patients.
    """
    names = list(parts)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            both = sorted(set(parts[first]) & set(parts[second]))
            if both:
                raise InvalidInputError(f"{len(both)} patients are in {first} and in {second}: {', '.join(both[:5])}")


def check_unseen(provenance: dict[str, Any], dataset: str, test: list[str]) -> None:
    """Refuse test patients that the weights were pre-trained on.

    Raises:
        InvalidInputError: naming the patients.
    """
    seen = set(provenance.get("patients", ()))
    leaked = [patient for patient in test if patient_hashes(dataset, [patient])[0] in seen]
    if leaked:
        raise InvalidInputError(
            f"{len(leaked)} test patients were in the pre-training set of these weights ({', '.join(leaked[:5])}): "
            "test on other patients, or use weights that did not see them"
        )
