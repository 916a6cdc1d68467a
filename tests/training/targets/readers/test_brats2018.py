"""BMS: BraTS 2018."""

from tests.training.targets import target_folders as folders
from tests.training.targets.target_folders import target_at


def test_brats_whole_tumour_and_time_points_stay_together(tmp_path):
    names = {f"Brats18_TCIA0{i}_{100 + i}_{t}": "HGG" if i % 2 else "LGG" for i in range(1, 8) for t in (1, 2)}
    folders.brats2018(tmp_path, names)
    broken = tmp_path / "MICCAI_BraTS_2018_Data_Training" / "HGG" / "Brats18_TCIA01_101_2"
    (broken / f"{broken.name}_flair.nii.gz").unlink()
    target = target_at("bms", tmp_path)
    found = target.split_items()
    assert "flair" in found.skipped["Brats18_TCIA01_101_2"]
    parts = {item.patient: set() for item in found.items}
    for item in found.items:
        parts[item.patient].add(item.split)
    assert len(parts) == 7
    assert all(len(split) == 1 for split in parts.values())
    loaded = target.load(found.items[0])
    assert int((loaded.label == 1).sum()) == 8 * 8 * 6
    assert loaded.image.min() == 0
    assert loaded.image.max() == 1
