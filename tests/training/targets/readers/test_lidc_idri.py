"""LIDC-IDRI: outlines to masks, readers to a consensus, DICOM and XML to cubes."""

import numpy as np
import pytest

import sg_hub
from sg_hub.errors import InvalidInputError, ReadError
from tests.training.targets.readers.lidc_samples import SERIES, Z, outlined
from tests.training.targets.target_folders import lidc_scan, lidc_xml, nodule, roi, square, target_at
from training.targets.on_grid import AIR, box
from training.targets.readers._lidc_xml import read_xml
from training.targets.readers.lidc_idri import cube_around, nodule_mask


@pytest.fixture
def data(tmp_path):
    """Patients with one series each; three readers outlined the bright box, one of them a size smaller."""
    for number in range(1, 7):
        folder = tmp_path / f"LIDC-IDRI-{number:04d}" / "01-01-2000-NA-NA-30178" / "3000566.000000-NA-03192"
        lidc_scan(folder, f"{SERIES}.{number}")
        box = [roi(Z[k], [(x, y + 2) for x, y in square(9, 20)]) for k in range(4, 8)]
        less = [roi(Z[k], [(x, y + 2) for x, y in square(10, 19)]) for k in range(4, 8)]
        sessions = [[nodule("1", box)], [nodule("1", box)], [nodule("x", less), nodule("y", outlined(30, 40))], []]
        lidc_xml(folder / "069.xml", f"{SERIES}.{number}", sessions)
    return tmp_path


def test_cubes_lie_around_the_nodules(data):
    target = target_at("ncs", data, "grid.size=[32, 32, 16]")
    found = target.split_items()
    assert {item.patient for item in found.items} == {f"LIDC-IDRI-{n:04d}" for n in range(1, 7)}
    assert len(found.items) == 6
    assert sum("outlined by 1 readers" in why for why in found.skipped.values()) == 6
    assert found.items[0].also == (f"luna16/{SERIES}.1",)
    loaded = target.load(found.items[0])
    assert loaded.image.shape == (1, 32, 32, 16)
    bright = loaded.image[0] > 0.5  # the box of 10 x 10 x 4 voxels at 50 HU
    assert bright.sum() == 10 * 10 * 4
    assert np.array_equal(loaded.label == 1, bright)
    middle = np.argwhere(loaded.label).mean(0)
    assert np.abs(middle - np.array([15.5, 15.5, 7.5])).max() <= 1


def test_files_named_otherwise_and_linked_folders_are_found(data, tmp_path):
    for path in sorted(data.rglob("*.dcm")):
        path.rename(path.with_suffix(""))
    (tmp_path / "linked").mkdir()
    for patient in sorted(data.glob("LIDC-IDRI-*")):
        (tmp_path / "linked" / patient.name).symlink_to(patient)
    target = target_at("ncs", tmp_path / "linked", "grid.size=[32, 32, 16]")
    found = target.split_items()
    assert len(found.items) == 6
    assert target.load(found.items[0]).label.any()


def test_cubes_of_another_spacing(data):
    target = target_at("ncs", data, "grid.size=[16, 16, 8]", "grid.spacing=[1.4, 1.4, 5.0]")
    loaded = target.load(target.split_items().items[0])
    assert loaded.label.shape == (16, 16, 8)
    assert 5 * 5 * 1 <= loaded.label.sum() <= 6 * 6 * 3


def test_slices_of_a_cube_are_a_2d_task(data):
    target = target_at("ncs-2d", data, "grid.size=[32, 32, 16]")
    assert target.sliced
    assert target.patch == (32, 32)
    assert len(target.split_items().items) == 6


def test_outlines_of_a_mirrored_file_land_on_the_nodule(tmp_path):
    array = np.full((30, 30, 12), -800, dtype=np.float32)
    array[18:23, 6:11, 4] = 50
    image = sg_hub.Scan(array[None], (0.7, 0.7, 2.5), (-100.0, -120.0, Z[0])).to_image(array)
    import SimpleITK as sitk

    mirrored = sg_hub.Scan.from_image(sitk.Flip(image, (True, True, False)))
    assert np.array_equal(mirrored.array[0], array)  # LPS again, from a file that runs the other way
    pixels = [(29 - x, 29 - y) for x, y in [(a, b - 12) for a, b in square(17, 23)]]
    lidc_xml(tmp_path / "a.xml", SERIES, [[nodule("1", [roi(Z[4], pixels)])]])
    mask = nodule_mask(mirrored, list(read_xml(tmp_path / "a.xml").annotations))
    assert np.array_equal(mask, array > 0)


def test_broken_parts_are_named_or_skipped(data):
    folder = next((data / "LIDC-IDRI-0001").rglob("069.xml")).parent
    for file in sorted(folder.glob("*.dcm")):
        file.unlink()
    target = target_at("ncs", data, "grid.size=[32, 32, 16]")
    found = target.split_items()
    assert "DICOM folder is not there" in found.skipped[f"{SERIES}.1"]
    second = next((data / "LIDC-IDRI-0002").rglob("069.xml"))
    (second.parent / "000011.dcm").unlink()  # slice 5, in the middle
    with pytest.raises(ReadError, match="LIDC-IDRI-0002"):
        target.load(next(item for item in found.items if item.patient == "LIDC-IDRI-0002"))
    text = second.read_text(encoding="utf-8")
    second.write_text(text.replace("<inclusion>TRUE", "<inclusion>MAYBE", 1), encoding="utf-8")
    with pytest.raises(ReadError, match=r"nodule '1' of reader 1.*MAYBE"):
        target.split_items()
    second.write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(ReadError, match=r"069\.xml is truncated"):
        target.split_items()


def test_outlines_in_slices_that_are_not_there_are_refused(tmp_path):
    array = np.full((30, 30, 12), -800, dtype=np.float32)
    array[0, 0, 0] = 0
    scan = sg_hub.Scan(array[None], (0.7, 0.7, 2.5), (-100.0, -120.0, Z[0]))
    lidc_xml(tmp_path / "a.xml", SERIES, [[nodule("1", [roi(Z[-1] + 5.0, square(3, 9))])]])
    with pytest.raises(InvalidInputError, match="no slice at imageZposition"):
        nodule_mask(scan, list(read_xml(tmp_path / "a.xml").annotations))


def test_cubes_beyond_the_scan_are_filled_with_air():
    array = np.zeros((20, 20, 6), dtype=np.float32)
    array[0, 0, 0] = 100
    mask = np.zeros(array.shape, dtype=bool)
    mask[0:2, 0:2, 0:2] = True
    corner, size = cube_around(mask, (1, 1, 1), (8, 8, 8), None)
    assert (corner, size) == ([-3, -3, -3], [8, 8, 8])
    assert box(mask, corner, size, 0).sum() == 8
    image = box(array[None], corner, size, AIR)
    assert image.shape == (1, 8, 8, 8)
    assert (image.min(), image.max()) == (-1000, 100)
