"""Where the place of a pattern is in every patient by the features of trained weights, not by its coordinates: a second
round of discovery, with what the first one taught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from sg_hub import from_pretrained
from sg_hub.errors import InvalidInputError
from sg_hub.inference.feature_maps import feature_maps, has_decoder, level_names
from sg_hub.inference.matching import Mapped, match

from ..data.leakage import check_unseen
from ..data.provenance import INHERITED
from ..data.store import Store
from ..run.precision import bfloat16
from .cubes import to_network

CELLS = 2
"""Voxels of the smallest cells of feature maps."""

Places = tuple[np.ndarray, np.ndarray]
"""Of one place in every patient of the store: middles (patients, 3) in voxels, and how unlike the reference's own place
each is (patients,), 0..1."""


def finder(weights: str, store: Store, dataset: str = "", key: str = "discover.weights") -> Any:
    """The network of weights that are to find places in the scans of a store.

    Args:
        weights: name or folder. Scans must be stored as they expect them.
        dataset: short name of the store's data set.
        key: of the recipe, that names them.

    Raises:
        InvalidInputError: weights of images, with another spacing, window or number of channels than the store's, or
            that have seen its test patients.
    """
    network: Any = from_pretrained(weights)
    said = f"{key} = {weights}"
    if network.NDIM != 3 or store.ndim != 3:
        raise InvalidInputError(f"{said}: places are found in 3D scans, by 3D weights")
    check_takes(network, store, dataset, said)
    return network.eval()


def check_takes(network: Any, store: Store, dataset: str, said: str) -> None:
    """Refuse trained weights for scans that are stored otherwise than they expect them, or of whose test patients they
    have seen some; warn where they do not say whom they have seen.

    Args:
        said: which weights, for the messages.

    Raises:
        InvalidInputError: another spacing, window or number of channels than the store's, or test patients that they
            have seen.
    """
    expected = network.preprocessing
    if store.ndim == 3 and (expected.low, expected.high) != store.window:
        raise InvalidInputError(
            f"{said}: they expect a window of {expected.low:g} to {expected.high:g}, and the store has "
            f"{store.window[0]:g} to {store.window[1]:g}"
        )
    for stored in store.patients:
        if stored.channels != network.in_chans:
            raise InvalidInputError(
                f"{said}: they take {network.in_chans} channels, and {stored.name} has {stored.channels}"
            )
        if store.ndim == 3 and expected.spacing and not np.allclose(expected.spacing, stored.spacing, rtol=0.01):
            raise InvalidInputError(
                f"{said}: they expect a spacing of {list(expected.spacing)} mm, and {stored.name} is stored with "
                f"{list(stored.spacing)}: take weights that were trained on such a store"
            )
    test = [patient for patient in store.patients if patient.split == "test"]
    names, images = [f"{dataset}/{one.patient}" for one in test], {one.name: one.images for one in test}
    if reason := check_unseen(network.provenance, dataset, names, images):
        print(f"warning: {said}: {reason}", flush=True)


def said_of_weights(network: Any) -> dict[str, Any]:
    """Which weights found the places, and whom they have seen: so has whoever learns from these places."""
    seen = {key: list(network.provenance[key]) for key in INHERITED if key in network.provenance}
    return {"sha256": network.load_report.sha256, **seen}


def locate_patterns(
    network: Any, store: Store, references: Sequence[tuple[int, np.ndarray]], *, progress: bool = True
) -> list[Places]:
    """Look for a place of each reference in every patient, as `sg_hub.locate` does it.

    Feature maps of the references are held, and of the others one patient's at a time.

    Args:
        network: as `finder` gives it.
        references: patients by their number in the store, and the middle of each one's cube in voxels.
    """
    templates = {
        patient: mapped(network, store, patient) for patient in dict.fromkeys(patient for patient, _ in references)
    }
    middles = [_as_points(middle) for _, middle in references]
    found = np.zeros((len(references), len(store.patients), 3))
    unlike = np.zeros((len(references), len(store.patients)))
    for patient in tqdm(range(len(store.patients)), desc="locating patterns", unit="scan", disable=not progress):
        other = templates[patient] if patient in templates else mapped(network, store, patient)
        for number, ((reference, own), middle) in enumerate(zip(references, middles, strict=True)):
            if patient == reference:  # it is there, and like itself
                found[number, patient] = own
                continue
            one = match([templates[reference]], [middle], other)
            found[number, patient] = one.places[0].double().numpy()
            unlike[number, patient] = 1 - float(one.score[0])
    return list(zip(found, unlike, strict=True))


def mapped(network: Any, store: Store, patient: int, finest: int = CELLS) -> Mapped:
    """Feature maps of a patient, by number in the store; of the decoder's levels, where there is one.

    Args:
        finest: voxels of the smallest cells.
    """
    stored = store.patients[patient]
    x = to_network(store.whole(stored.name), store.window, stored.shape)[None]
    with bfloat16(x.device):
        names = level_names(network, "decoder" if has_decoder(network) else "encoder")
        maps = feature_maps(network, x, names=names, finest=finest)
    return Mapped(maps.normalised(), stored.spacing)


def _as_points(middle: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(middle, dtype=np.float32))[None]
