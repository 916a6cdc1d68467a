"""Lungs in X-rays of COVID-19, in one file."""

import numpy as np
import pytest

from sg_hub.errors import ReadError
from tests.training.targets.target_folders import target_at


def images():
    """Eight of six patients; lungs are two dark boxes, and the last image has none."""
    lung = np.zeros((8, 64, 64), dtype=bool)
    lung[:-1, 10:50, 6:26], lung[:-1, 10:50, 38:58] = True, True
    ignore = np.zeros_like(lung)
    ignore[:, 10:20, 6:26] = True
    noise = np.random.default_rng(0).integers(0, 40, lung.shape)
    image = np.where(lung, 40, 180) + noise
    patient = np.array([1, 1, 2, 3, 4, 5, 6, 6], dtype=np.int16)
    return {"image": image.astype(np.uint8), "lung": lung, "ignore": ignore, "patient": patient}


@pytest.fixture
def target(tmp_path):
    def write(**changed):
        np.savez(tmp_path / "lungs.npz", **images() | changed)
        return target_at("covid-cxr-lungs", tmp_path)

    return write


def test_images_come_with_their_lungs(target):
    target = target()
    found = target.split_items()
    assert [item.name for item in found.items][:3] == ["patient_001_0", "patient_001_1", "patient_002_0"]
    assert found.skipped == {"patient_006_1": "no lung is outlined"}
    for item in found.items:
        loaded = target.load(item)
        assert loaded.image.shape == (1, 128, 128)
        assert loaded.label.shape == (128, 128)
        lung = loaded.label == 1
        assert loaded.image[0][lung].mean() < loaded.image[0][~lung].mean() - 0.2
        assert lung[60, 30]
        assert not lung[30, 30]  # left out by the annotators
        assert len(target.image_hashes(item)) == 2


def test_images_of_a_patient_are_split_together(target):
    parts = {}
    for item in target().split_items().items:
        parts.setdefault(item.patient, set()).add(item.split)
    assert all(len(part) == 1 for part in parts.values())
    assert set().union(*parts.values()) == {"train", "validation", "test"}


@pytest.mark.parametrize("name", ["image", "lung", "ignore", "patient"])
def test_arrays_that_do_not_fit_together(target, name):
    with pytest.raises(ReadError, match=r"lungs\.npz: its arrays do not fit together"):
        target(**{name: images()[name][:-1]}).find()
