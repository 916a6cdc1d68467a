"""NCC: LUNA16."""

import numpy as np
import pytest

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.targets import target_folders as folders
from tests.training.targets.target_folders import target_at, write_csv
from training.targets import in_parts


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
    with pytest.raises(ReadError, match="which is not beside it"):
        target.load(next(item for item in found.items if item.patient == series[0]))
    flat = tmp_path / "subset2" / f"{series[2]}.mhd"
    flat.write_text(
        flat.read_text(encoding="utf-8").replace("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0 0"), encoding="utf-8"
    )
    with pytest.raises((ReadError, InvalidInputError), match="TransformMatrix"):
        target.load(next(item for item in found.items if item.patient == series[2]))
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


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ElementSpacing = 1 1 1", "Comment = none", "does not say its spacing"),
        ("ElementDataFile = s.raw", "ElementDataFile = ../s.raw", "outside its own folder"),
        ("DimSize = 20 20 10", "DimSize = 20 20 11", "bytes of voxels"),
        ("ElementSpacing", "DistanceUnits = cm\nElementSpacing", "expected mm"),
    ],
)
def test_luna16_headers_that_are_refused_elsewhere_are_refused_here(tmp_path, old, new, said):
    from training.targets.readers.luna16 import read_cube

    path = tmp_path / "s.mhd"
    folders.write_scan(path, np.zeros((20, 20, 10), dtype=np.int16))
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises((InvalidInputError, ReadError), match=said):
        read_cube(path, (5.0, 5.0, 5.0), (8, 8, 4), None)
