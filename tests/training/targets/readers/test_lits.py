"""LCS: LiTS."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from sg_hub.errors import InvalidInputError, SgHubError
from tests.support.folders import TEST_SAMPLES
from tests.training.targets import target_folders as folders
from tests.training.targets.target_folders import target_at
from training.targets import in_parts

LIVER = TEST_SAMPLES / "totalsegmentator"


def test_lits_official_items_and_liver_with_its_tumours(tmp_path):
    folders.lits(tmp_path, (0, 27, 99, 100, 114, 115, 129, 130))
    target = target_at("lcs", tmp_path, "grid.spacing=[1, 1, 1]")
    (tmp_path / "test-volume-0.nii").write_bytes(b"of the challenge's own test part")
    found = target.split_items()
    names = {part: [item.name for item in items] for part, items in in_parts(found.items).items()}
    assert names == {
        "train": ["volume-0", "volume-27", "volume-99"],
        "validation": ["volume-100", "volume-114"],
        "test": ["volume-115", "volume-129"],
    }
    assert "above 129" in found.skipped["volume-130"]
    loaded = target.load(found.items[0])
    assert int(loaded.label.sum()) == 10 * 10 * 6
    assert loaded.label.max() == 1
    inside = loaded.image[0][loaded.label == 1]
    assert inside.min() == pytest.approx(1100 / 2000)


def test_a_real_liver_lies_where_its_mask_says(tmp_path):
    """A real CT in RAS order: image and mask are turned alike, and the liver is in the patient's right half."""
    batch = tmp_path / "Training Batch 1"
    batch.mkdir()
    for name, file in (("volume", "ct.nii.gz"), ("segmentation", "liver.nii.gz")):
        for number in (0, 100, 115):
            shutil.copy(LIVER / file, batch / f"{name}-{number}.nii.gz")
    target = target_at("lcs", tmp_path, "grid.low=-200", "grid.high=250", "grid.spacing=[3, 3, 3]")
    loaded = target.load(target.split_items().items[0])
    liver, image = loaded.label == 1, loaded.image[0]
    assert loaded.label.shape == (92, 71, 28)
    assert int(liver.sum()) == 34837
    assert image[liver].mean() == pytest.approx((44.75 + 200) / 450, abs=1e-3)
    assert image[liver].std() == pytest.approx(15.42 / 450, abs=1e-3)  # 97 / 450 outside of it
    assert np.argwhere(liver)[:, 0].mean() < 92 / 2  # x grows to the patient's left
    resampled = target_at("lcs", tmp_path, "grid.low=-200", "grid.high=250").load(target.split_items().items[0])
    assert resampled.image[0][resampled.label == 1].mean() == pytest.approx((44.75 + 200) / 450, abs=5e-3)


def test_a_liver_mask_with_another_header_belongs_to_its_volume_by_index(tmp_path):
    """As in some items of LiTS; for other data sets a mask that lies elsewhere is refused."""
    batch, mask = tmp_path / "lits", sitk.ReadImage(str(LIVER / "liver.nii.gz"))
    batch.mkdir()
    for number in (0, 100, 115):
        shutil.copy(LIVER / "ct.nii.gz", batch / f"volume-{number}.nii.gz")
        shutil.copy(LIVER / "liver.nii.gz", batch / f"segmentation-{number}.nii.gz")
    target = target_at("lcs", batch, "grid.spacing=[3, 3, 3]")
    item = target.split_items().items[0]
    right = target.load(item)
    mask.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1))  # as if the file ran the other way
    mask.SetOrigin((0, 0, 0))
    sitk.WriteImage(mask, str(batch / "segmentation-0.nii.gz"))
    assert np.array_equal(target.load(item).label, right.label)
    with pytest.raises(InvalidInputError, match=r"lies elsewhere than .* mm apart"):
        target.load_labelled(item.image, str(item.label))


def test_lits_missing_and_unequal_files(tmp_path):
    folders.lits(tmp_path, (0, 1, 2, 100, 115))
    batch = tmp_path / "Training Batch 1"
    (batch / "segmentation-1.nii").unlink()
    folders.write_scan(batch / "segmentation-2.nii", np.arange(8 * 8 * 8, dtype=np.uint8).reshape(8, 8, 8) % 2)
    target = target_at("lcs", tmp_path)
    found = target.split_items()
    assert found.skipped["volume-1"] == "no segmentation-1.nii"
    with pytest.raises(InvalidInputError, match="must be of the same grid"):
        target.load(next(item for item in found.items if item.name == "volume-2"))
    (batch / "volume-0.nii").write_bytes((batch / "volume-0.nii").read_bytes()[:500])
    with pytest.raises(SgHubError, match="volume-0"):
        target.load(found.items[0])


def test_a_liver_item_twice_is_refused(tmp_path):
    folders.lits(tmp_path, (0, 100, 115))
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "volume-0.nii").write_bytes((tmp_path / "Training Batch 1" / "volume-0.nii").read_bytes())
    with pytest.raises(InvalidInputError, match="two files of volume 0"):
        target_at("lcs", tmp_path).split_items()
