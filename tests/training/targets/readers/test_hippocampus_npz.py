"""Hippocampus of the decathlon, in one file."""

import numpy as np
import pytest

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.targets.target_folders import target_at

SHAPES = [(34, 50, 33), (36, 48, 35), (35, 51, 32), (33, 49, 34), (35, 50, 36), (34, 48, 33)]


def volumes():
    """Six, of five people. The head lies anterior, inferior and to the left of the body."""
    images, labels = [], []
    for number, shape in enumerate(SHAPES):
        label = np.zeros(shape, dtype=np.uint8)  # axes: right, anterior, superior
        label[4:12, 30:40, 5:12], label[20:26, 10:20, 18:24] = 1, 2
        noise = np.random.default_rng(number).integers(0, 60, shape)
        images.append((60 * label + noise).astype(np.uint8))
        labels.append(label)
    ends = np.cumsum([0, *(image.size for image in images)])
    return {
        "image": np.concatenate([image.ravel() for image in images]),
        "label": np.concatenate([label.ravel() for label in labels]),
        "shape": np.array(SHAPES, dtype=np.int16),
        "offset": ends.astype(np.int64),
        "source_number": np.array([1, 4, 6, 9, 10, 12], dtype=np.int16),
        "group": np.array([0, 0, 1, 2, 3, 4], dtype=np.int16),
    }


@pytest.fixture
def target(tmp_path):
    def write(**changed):
        np.savez(tmp_path / "hippocampus.npz", **volumes() | changed)
        return target_at("hippocampus", tmp_path)

    return write


def test_volumes_are_in_lps_order_with_their_labels(target):
    target = target()
    items = target.split_items().items
    assert [item.name for item in items] == [f"hippocampus_{number:03d}" for number in (1, 4, 6, 9, 10, 12)]
    for item, shape in zip(items, SHAPES, strict=True):
        loaded = target.load(item)
        assert loaded.image.shape == (1, *shape)
        assert loaded.label.shape == shape
        head, body = (np.argwhere(loaded.label == number).mean(0) for number in (1, 2))
        assert head[0] > body[0]  # x runs to the left
        assert head[1] < body[1]  # y to posterior
        assert head[2] < body[2]  # z to superior
        assert loaded.image[0][loaded.label == 2].mean() > loaded.image[0][loaded.label == 0].mean() + 0.3


def test_volumes_of_one_group_are_split_together(target):
    parts = {}
    for item in target().split_items().items:
        parts.setdefault(item.patient, set()).add(item.split)
    assert len(parts) == 5
    assert all(len(part) == 1 for part in parts.values())


def test_a_volume_is_known_by_its_content(target):
    target = target()
    hashes = [target.image_hashes(item) for item in target.find().items]
    assert len(set(hashes)) == 6
    assert all(len(known) == 2 for known in hashes)


@pytest.mark.parametrize(
    "changed",
    [
        {"offset": np.arange(7)},
        {"group": np.arange(5)},
        {"shape": np.ones((6, 2), dtype=np.int16)},
        {"label": np.zeros(10, dtype=np.uint8)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_arrays_that_do_not_fit_together(target, changed):
    with pytest.raises(ReadError, match=r"hippocampus\.npz: its arrays do not fit together"):
        target(**changed).find()


def test_a_label_of_no_class(target):
    labels = volumes()["label"]
    labels[0] = 7
    target = target(label=labels)
    with pytest.raises(InvalidInputError, match=r"hippocampus_001.* holds the values 7"):
        target.load(target.find().items[0])
