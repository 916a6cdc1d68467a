"""PXS: SIIM-ACR."""

import numpy as np
import pytest

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.targets import target_folders as folders
from tests.training.targets.target_folders import target_at, write_csv
from training.targets.readers.siim_acr import decode_runs


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


def test_siim_acr_files_named_by_uid_alone(tmp_path):
    folders.siim_acr(tmp_path, {f"1.2.276.0.{i}": (f"patient-{i}", ["-1"]) for i in range(6)})
    for path in sorted(tmp_path.rglob("*.dcm")):
        path.rename(path.with_suffix(""))
    found = target_at("pxs", tmp_path, "grid.size=[40, 32]").find()
    assert [item.name for item in found.items] == [f"1.2.276.0.{i}" for i in range(6)]


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
