"""Readers of public data sets, on folders in exactly their on-disk form, with broken items in them."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from sg_hub.errors import InvalidInputError, ReadError, SgHubError
from tests.folders import TEST_SAMPLES
from tests.training.targets import target_folders as folders
from tests.training.targets.target_folders import target_at, write_csv
from training.targets import in_parts, list_targets, load_target
from training.targets.readers.siim_acr import decode_runs

LIVER = TEST_SAMPLES / "totalsegmentator"


def test_every_shipped_target_is_valid_and_says_what_it_is():
    codes = set()
    for name in list_targets():
        target = load_target(name)
        assert target.name == name
        assert target.title
        assert target.description
        codes.add(target.code)
    assert {"NCC", "NCS", "LCS", "BMS", "DXC", "PXS"} <= codes


@pytest.mark.parametrize("name", list_targets())
def test_a_missing_folder_is_named(name, tmp_path):
    with pytest.raises(ReadError, match="not there"):
        target_at(name, tmp_path / "nowhere").split_items()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SgHubError, match="empty"):
        target_at(name, tmp_path / "empty").split_items()


# -- NCC: LUNA16 -----------------------------------------------------------------------------------------------------


def test_luna16_cubes_lie_around_the_candidates_and_folds_are_official(tmp_path):
    folders.luna16(tmp_path)
    target = target_at("ncc", tmp_path, "grid.size=[16, 16, 8]")
    found = target.split_items()
    parts = in_parts(found.items)
    assert {part: len({c.patient for c in items}) for part, items in parts.items()} == {
        "train": 5,
        "validation": 2,
        "test": 3,
    }
    for item in found.items:
        loaded = target.load(item)
        assert loaded.image.shape == (1, 16, 16, 8)
        assert int(loaded.label) == item.label
        # The candidate is the brightest voxel at the cube's middle: 300 or 100 HU in the window of -1000 to 1000.
        middle = loaded.image[0, 7:9, 7:9, 3:5].max()
        assert middle == pytest.approx((1300 if item.label else 1100) / 2000, abs=1e-6)


def test_luna16_reads_flipped_scans_in_lps_order_and_resamples(tmp_path):
    array = np.full((30, 30, 20), -1000, dtype=np.int16)
    array[20, 10, 8] = 1000
    array[21, 10, 8] = 500  # towards the patient's right in the file, for its x axis is flipped
    flipped = (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    folders.write_scan(tmp_path / "subset0" / "s.mhd", array, (1, 1, 2), (50.0, 60.0, -10.0), flipped)
    from training.targets.readers.luna16 import read_cube

    cube = read_cube(tmp_path / "subset0" / "s.mhd", (50.0 - 20, 60.0 - 10, -10 + 16.0), (9, 9, 5), None)
    assert cube.shape == (9, 9, 5)
    assert cube[4, 4, 2] == 1000
    assert cube[3, 4, 2] == 500
    coarse = read_cube(tmp_path / "subset0" / "s.mhd", (30.0, 50.0, 6.0), (4, 4, 4), (2.0, 2.0, 4.0))
    assert coarse.shape == (8, 8, 8)  # voxels of the scan that cover the cube


def test_luna16_cubes_beyond_the_scan_are_filled_with_air(tmp_path):
    folders.write_scan(tmp_path / "s.mhd", np.zeros((20, 20, 10), dtype=np.int16))
    from training.targets.readers.luna16 import read_cube

    cube = read_cube(tmp_path / "s.mhd", (0.0, 0.0, 0.0), (8, 8, 4), None)
    assert cube.shape == (8, 8, 4)
    assert (cube == 0).sum() == 5 * 5 * 3
    assert set(np.unique(cube)) == {-1000.0, 0.0}


def test_luna16_draws_the_same_negatives_every_time_and_keeps_every_nodule(tmp_path):
    folders.luna16(tmp_path, candidates=12)
    few = target_at("ncc", tmp_path, "negatives_per_scan=3").split_items().items
    assert few == target_at("ncc", tmp_path, "negatives_per_scan=3").split_items().items
    assert sum(item.label for item in few) == 10
    assert len(few) == 10 * 4
    assert len(target_at("ncc", tmp_path, "negatives_per_scan=0").split_items().items) == 120


def test_luna16_broken_parts_are_named(tmp_path):
    arrays = folders.luna16(tmp_path)
    series = sorted(arrays)
    (tmp_path / "subset3" / f"{series[3]}.mhd").unlink()
    target = target_at("ncc", tmp_path, "grid.size=[16, 16, 8]")
    found = target.split_items()
    assert "in no subset" in found.skipped[series[3]]
    raw = tmp_path / "subset0" / f"{series[0]}.raw"
    raw.write_bytes(raw.read_bytes()[:100])
    with pytest.raises(ReadError, match="truncated"):
        target.load(next(item for item in found.items if item.patient == series[0]))
    raw.unlink()
    with pytest.raises(ReadError, match="missing or truncated"):
        target.load(next(item for item in found.items if item.patient == series[0]))
    far = next(item for item in found.items if item.patient == series[1])
    with pytest.raises(InvalidInputError, match="outside of the scan"):
        target.load(type(far)(**{**far.__dict__, "place": (900.0, 0.0, 0.0)}))


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        (("seriesuid", "coordX", "coordY", "coordZ", "probability"), ("s", 1, 2, 3, 0), "'class'"),
        (folders.LUNA_HEADER, ("s", 1, "two", 3, 0), "line 2.*two"),
        (folders.LUNA_HEADER, ("s", 1, 2, 3, 7), "line 2.*class 7"),
        (folders.LUNA_HEADER, ("s", 1, 2), "line 2: 3 values for 5 columns"),
    ],
)
def test_luna16_wrong_tables_are_named(tmp_path, header, row, said):
    folders.luna16(tmp_path, scans=1)
    write_csv(tmp_path / "candidates_V2.csv", header, [row])
    with pytest.raises(ReadError, match=said):
        target_at("ncc", tmp_path).split_items()


def test_a_scan_in_two_subsets_is_refused(tmp_path):
    arrays = folders.luna16(tmp_path)
    name = next(iter(arrays))
    folders.write_scan(tmp_path / "subset9" / f"{name}.mhd", arrays[name])
    with pytest.raises(InvalidInputError, match="two subsets"):
        target_at("ncc", tmp_path).split_items()


# -- LCS: LiTS -------------------------------------------------------------------------------------------------------


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
    with pytest.raises(InvalidInputError, match=r"lies elsewhere than its image .* mm apart"):
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


# -- BMS: BraTS 2018 -------------------------------------------------------------------------------------------------


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


# -- DXC: ChestX-ray14 -----------------------------------------------------------------------------------------------


def test_chestxray14_findings_patients_and_official_split(tmp_path):
    names = folders.chestxray14(tmp_path)
    (tmp_path / "images_001" / "images" / names[2]).unlink()
    target = target_at("dxc", tmp_path, "grid.size=[32, 32]")
    found = target.split_items()
    assert "not there" in found.skipped[names[2]]
    test = {item.name for item in found.items if item.split == "test"}
    assert test == {name.removesuffix(".png") for name in names[len(names) * 2 // 3 :]}
    assert any(item.split == "validation" for item in found.items)
    item = next(item for item in found.items if item.name == "00000006_000")
    assert item.patient == "6"
    named = {name for name, value in zip(target.classes, item.label, strict=True) if value}
    assert named == {"Effusion", "Mass"}
    assert target.load(item).image.shape == (1, 32, 32)
    nothing = next(item for item in found.items if item.name == "00000004_000")
    assert not any(nothing.label)


def test_chestxray14_broken_lists_and_tables(tmp_path):
    names = folders.chestxray14(tmp_path)
    with open(tmp_path / "test_list.txt", "a", encoding="utf-8") as file:
        file.write(names[0] + "\n")
    with pytest.raises(InvalidInputError, match=r"train_val_list\.txt and in test_list\.txt"):
        target_at("dxc", tmp_path).split_items()
    (tmp_path / "test_list.txt").unlink()
    with pytest.raises(ReadError, match=r"test_list.txt is not there"):
        target_at("dxc", tmp_path).split_items()
    (tmp_path / "test_list.txt").write_text(names[-1], encoding="utf-8")
    text = (tmp_path / "Data_Entry_2017.csv").read_text(encoding="utf-8")
    (tmp_path / "Data_Entry_2017.csv").write_text(text.replace("Hernia", "Unicorn"), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="Unicorn"):
        target_at("dxc", tmp_path).split_items()
    (tmp_path / "Data_Entry_2017.csv").write_text(text.replace("Patient ID", "Person"), encoding="utf-8")
    with pytest.raises(ReadError, match="'Patient ID'"):
        target_at("dxc", tmp_path).split_items()


def test_chestxray14_patients_in_both_lists_are_refused(tmp_path):
    names = folders.chestxray14(tmp_path)
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[:15]), encoding="utf-8")
    (tmp_path / "test_list.txt").write_text("\n".join(names[15:]), encoding="utf-8")  # cuts through a patient
    with pytest.raises(InvalidInputError, match="patients, not images, are split"):
        target_at("dxc", tmp_path).split_items()


def test_chestxray14_a_truncated_image_is_named(tmp_path):
    names = folders.chestxray14(tmp_path)
    path = tmp_path / "images_002" / "images" / names[0]
    path.write_bytes(path.read_bytes()[:200])
    target = target_at("dxc", tmp_path)
    with pytest.raises(ReadError, match=names[0]):
        target.load(next(item for item in target.split_items().items if item.image == str(path)))


# -- PXS: SIIM-ACR ---------------------------------------------------------------------------------------------------


def test_runs_are_relative_and_go_down_the_columns():
    mask = decode_runs("3 2 5 4", (10, 4), "a")  # 3 off, 2 on, 5 off, 4 on
    expected = np.zeros((10, 4), dtype=bool)
    expected[3:5, 0] = True
    expected[0:4, 1] = True
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize(
    ("text", "said"), [("1 2 3", "pairs"), ("", "pairs"), ("5 x", "numbers"), ("30 11", "reach"), ("-2 4", "pairs")]
)
def test_runs_that_are_none_are_refused(text, said):
    with pytest.raises(InvalidInputError, match=said):
        decode_runs(text, (10, 4), "a")


def test_siim_acr_unites_rows_and_splits_by_patient(tmp_path):
    images = {f"1.2.276.0.{i}": (f"patient-{i // 2}", ["-1"] if i % 2 else ["41 10", "85 5"]) for i in range(12)}
    folders.siim_acr(tmp_path, images)
    target = target_at("pxs", tmp_path, "grid.size=[40, 32]")
    found = target.split_items()
    assert len(found.items) == 12
    assert {item.patient for item in found.items} == {f"patient-{i}" for i in range(6)}
    item = next(item for item in found.items if item.name == "1.2.276.0.0")
    label = target.load(item).label
    assert label.shape == (40, 32)
    pixels = {(int(row), int(column)) for row, column in np.argwhere(label)}
    assert pixels == {(row, 1) for row in range(1, 11)} | {(row, 2) for row in range(5, 10)}
    empty = next(item for item in found.items if item.name == "1.2.276.0.1")
    assert not target.load(empty).label.any()


def test_siim_acr_broken_items(tmp_path):
    images = {f"i{i}": (f"p{i}", ["-1"]) for i in range(10)} | {
        "both": ("b", ["-1", "3 2"]),
        "over": ("o", ["1 5000"]),
        "cut": ("c", ["-1"]),
    }
    folders.siim_acr(tmp_path, images)
    next((tmp_path / "dicom-images-train").rglob("i0.dcm")).unlink()
    target = target_at("pxs", tmp_path, "grid.size=[40, 32]")
    found = target.split_items()
    assert found.skipped["i0"] == "its .dcm is not there"
    assert "empty and gives a mask" in found.skipped["both"]
    with pytest.raises(InvalidInputError, match="image over"):
        target.load(next(item for item in found.items if item.name == "over"))
    cut = next((tmp_path / "dicom-images-train").rglob("cut.dcm"))
    cut.write_bytes(cut.read_bytes()[:150])
    assert "cut.dcm is truncated" in target.split_items().skipped["cut"]


def test_siim_acr_wrong_columns(tmp_path):
    folders.siim_acr(tmp_path, {"a": ("p", ["-1"])})
    write_csv(tmp_path / "train-rle.csv", ("ImageId", "rle"), [("a", "-1")])
    with pytest.raises(ReadError, match="'EncodedPixels'"):
        target_at("pxs", tmp_path).split_items()
