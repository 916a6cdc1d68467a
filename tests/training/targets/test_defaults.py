"""What the TOML of a user's own target need not say."""

import numpy as np
import pytest
from PIL import Image

from sg_hub import ImagePreprocessing, Preprocessing
from sg_hub.errors import InvalidInputError
from tests.training.targets.target_folders import dicom, write_scan
from training.targets import load_target
from training.targets.defaults import dims_of

SCANS = Preprocessing(low=-500, high=700, spacing=(4, 4, 3), input_size=(32, 32, 16))
PICTURES = ImagePreprocessing(low=0.1, high=0.9, input_size=(96, 64))


def target(tmp_path, weights, text="", head="segmentation", **files):
    """A target in a folder with one image of a kind, as it is read for some weights."""
    images = tmp_path / "images"
    images.mkdir(exist_ok=True)
    if files.get("pictures"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(images / "a.png")
    else:
        write_scan(images / "a.nii.gz", np.zeros((4, 4, 4), np.int16))
    metric = "iou" if head == "segmentation" else "auc"
    start = f'reader = "folder"\nname = "mine"\nroot = "{tmp_path}"\nclasses = ["a", "b"]\n'
    (tmp_path / "mine.toml").write_text(f'{start}head = "{head}"\nmetric = "{metric}"\n{text}', encoding="utf-8")
    return load_target(tmp_path / "mine.toml", weights=weights)


def test_a_segmentation_of_scans_is_as_the_weights_expect(tmp_path):
    found = target(tmp_path, [PICTURES, SCANS, Preprocessing()])
    assert (found.dims, found.ndim, found.patch) == (3, 3, (32, 32, 16))
    assert (found.grid.low, found.grid.high, found.grid.spacing, found.grid.size) == (-500, 700, (4, 4, 3), None)
    assert found.preprocessing("CT") == SCANS
    assert found.from_weights == {
        "grid.intensity": "window",
        "grid.low": -500.0,
        "grid.high": 700.0,
        "grid.spacing": [4.0, 4.0, 3.0],
        "settings.patch": [32, 32, 16],
    }


@pytest.mark.parametrize(("whole", "size"), [(None, (32, 32, 16)), ((64, 64, 32), (64, 64, 32))])
def test_a_classification_of_scans_has_the_size_of_the_weights(tmp_path, whole, size):
    weights = Preprocessing(spacing=(4, 4, 3), input_size=(32, 32, 16), size=whole)
    found = target(tmp_path, [weights], head="classification")
    assert (found.grid.size, found.patch) == (size, size)


@pytest.mark.parametrize("head", ["segmentation", "classification"])
def test_pictures_are_found_to_be_2d(tmp_path, head):
    found = target(tmp_path, [SCANS, PICTURES], head=head, pictures=True)
    assert (found.dims, found.ndim, found.patch) == (2, 2, (96, 64))
    assert (found.grid.low, found.grid.high) == (0.1, 0.9)


def test_what_the_file_says_counts(tmp_path):
    text = "grid = { low = 0.0, spacing = 'own' }\nsettings = { patch = [8, 8, 8] }\n"
    found = target(tmp_path, [SCANS], text)
    assert (found.grid.low, found.grid.high, found.grid.spacing, found.patch) == (0, 700, None, (8, 8, 8))
    assert target(tmp_path, [SCANS], "grid = { size = [16, 16, 16] }").grid.spacing is None
    percentiles = "grid = { intensity = 'percentile', low = 0.5, high = 99.5 }\n"
    assert target(tmp_path, [SCANS], percentiles).grid.low == 0.5
    with pytest.raises(InvalidInputError, match="needs both, such as"):
        target(tmp_path, [SCANS], "grid = { intensity = 'percentile' }")


def test_without_weights_it_is_sg_hubs_own(tmp_path):
    found = target(tmp_path, [])
    assert (found.patch, found.grid.low, found.grid.spacing) == ((64, 64, 32), -1000, None)


def test_targets_that_are_described_in_full_change_nothing(tmp_path):
    assert load_target("lcs", weights=[SCANS]) == load_target("lcs")
    assert load_target("lcs", weights=[SCANS]).from_weights == {}


def test_dims_of_dicom_are_by_what_it_says_to_be(tmp_path):
    pixels = np.zeros((8, 8), np.int16)
    dicom(tmp_path / "xrays" / "1.dcm", pixels, {"0008|0060": "DX", "0008|0016": "1.2.840.10008.5.1.4.1.1.1.1"})
    dicom(tmp_path / "ct" / "case" / "1.dcm", pixels, {"0008|0060": "CT", "0008|0016": "1.2.840.10008.5.1.4.1.1.2"})
    assert [dims_of(tmp_path / name) for name in ("xrays", "ct", "gone")] == [2, 3, 3]


def test_dims_are_those_of_linked_folders_too(tmp_path):
    (tmp_path / "elsewhere" / "case").mkdir(parents=True)
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "elsewhere" / "case" / "a.png")
    (tmp_path / "images" / "case").symlink_to(tmp_path / "elsewhere" / "case")
    assert dims_of(tmp_path / "images") == 2
    (tmp_path / "images" / ".cache").mkdir()
    write_scan(tmp_path / "images" / ".cache" / "a.nii.gz", np.zeros((4, 4, 4), np.int16))
    assert dims_of(tmp_path / "images") == 2, "hidden folders are not looked at"
