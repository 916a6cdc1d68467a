"""Patches of LIDC-IDRI."""

import numpy as np
import pytest

from sg_hub.errors import ReadError
from tests.training.targets.target_folders import target_at
from training.targets.readers._lidc_xml import consensus
from training.targets.readers.lidc_patches import masks_of_readers

SMALL = ("grid.size=[16, 16, 8]", "settings.batch_size=4")


def test_consensus_is_half_of_the_readers_who_outlined():
    bits = np.array([[0b0001, 0b0011, 0b1011, 0b0000]], dtype=np.uint8)
    masks = masks_of_readers(bits)
    assert len(masks) == 3
    assert consensus(masks).tolist() == [[False, True, True, False]]


@pytest.mark.parametrize("damage", ["missing", "truncated", "lacks", "offset", "columns"])
def test_damaged_archives_are_named(patches, tmp_path, damage):
    data = dict(np.load(patches / "nodules.npz"))
    path = tmp_path / "nodules.npz"
    if damage == "lacks":
        del data["mask"]
    if damage == "offset":
        data["offset"] = data["offset"][:-1]
    if damage == "columns":
        data["columns"] = np.array([f"column {i}" for i in range(10)])
    if damage != "missing":
        np.savez(path, **data)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ReadError, match=r"nodules\.npz"):
        target_at("lidc-nodules", tmp_path, *SMALL).split_items()


def test_nodules_that_disagree_with_the_annotation_are_skipped(patches, tmp_path):
    data = dict(np.load(patches / "nodules.npz"))
    data["table"][0, 8] = 0
    data["table"][1, 4] = 3
    np.savez(tmp_path / "nodules.npz", **data)
    skipped = target_at("lidc-malignancy", tmp_path, *SMALL).split_items().skipped
    assert "do not agree" in skipped["LIDC-IDRI-0001_0"]
    assert "neither benign nor malignant" in skipped["LIDC-IDRI-0002_1"]
    few = target_at("lidc-nodules", patches, *SMALL, "minimum_readers=4").find().skipped
    assert set(few.values()) == {"outlined by 3 readers"}
