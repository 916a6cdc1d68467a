"""What weights say of the data that they were trained on: from the data, from the user, or nothing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..run.folder.environment import commit
from ..run.recipe import TEXTS, Publish, Recipe
from .leakage import patient_hashes
from .store import Store


def said_of(recipe: Recipe, store: Store) -> Publish:
    """[publish] as far as it is about the data of this store; what is not is empty, but for what the user gave."""
    publish = recipe.publish
    if _is_about(publish, store):
        return publish
    return publish.model_copy(update={text: "" for text in TEXTS if text not in publish.given})


INHERITED = ("patients", "images", "datasets")
"""What weights say of whom they have seen."""


def provenance(recipe: Recipe, store: Store, learnt_from: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """For the config of weights that are trained on the store.

    Args:
        learnt_from: what other weights say of whom they have seen, that found the patterns or that training starts
            from: whoever learns from these has seen them, too, and does not know of whom where they do not say it.

    `patients` and `images` are hashes of those that are trained and validated on, by which test patients are refused
    (see `leakage.check_unseen`). `images` is missing where a store of before does not know all of them.
    """
    said = said_of(recipe, store)
    known = [item.images for item in store.items if item.split in ("train", "validation")]
    found: dict[str, Any] = {
        "data": said.data_name,
        "recipe": recipe.name,
        "commit": commit(),
        "licence": said.licence or "unknown",
        "store": store.fingerprint,
        "datasets": [said.dataset] if said.dataset else [],
        "patients": patient_hashes(said.dataset, _trained_on(store)),
        **({"images": sorted({one for images in known for one in images})} if all(known) else {}),
    }
    return with_seen(found, learnt_from)


def with_seen(found: Mapping[str, Any], learnt_from: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A provenance that also says whom other weights have seen, as far as both say it."""
    found = dict(found)
    for one in learnt_from:
        both = {key: sorted({*found[key], *one[key]}) for key in INHERITED if key in found and key in one}
        found = {key: value for key, value in found.items() if key not in INHERITED} | both
    return found


def of_dataset(provenance: Mapping[str, Any], dataset: str, store: Store) -> dict[str, Any]:
    """What weights say of whom they have seen, where the name of their data set is given after they were trained.

    Args:
        store: that they were trained on.
    """
    named = sorted({*provenance.get("datasets", ()), dataset})
    seen = sorted({*provenance.get("patients", ()), *patient_hashes(dataset, _trained_on(store))})
    return {"datasets": named, "patients": seen}


def digest(values: Iterable[str]) -> str:
    """Sixteen hexadecimal digits of a set of names or hashes."""
    return hashlib.sha256("\n".join(sorted(values)).encode()).hexdigest()[:16]


def _is_about(publish: Publish, store: Store) -> bool:
    """Whether the data are those that the recipe's texts are about, where it says which these are."""
    names = publish.names is None or all(re.fullmatch(publish.names, item.name) for item in store.items)
    patients = publish.patients in (None, digest(patient_hashes(publish.dataset, _trained_on(store))))
    images = publish.images is None or all(not set(publish.images).isdisjoint(item.images) for item in store.items)
    return names and patients and images


def _trained_on(store: Store) -> list[str]:
    return store.persons("train") + store.persons("validation")
