"""Images and subjects of TorchIO hold what sg_hub reads of the same file, in whatever orientation it is, and back."""

import numpy as np
import pytest
import torch
import torchio as tio

import sg_hub
from sg_hub import InvalidInputError, Preprocessing
from sg_hub.interop.torchio import Preprocess, to_image, to_scan, to_scans, to_subject
from tests.sg_hub.interop.oriented import ORIENTATIONS, write_oriented

COARSE = Preprocessing(spacing=(3, 3, 4))


def subject_of(ct, labels):
    return tio.Subject(ct=tio.ScalarImage(ct), organ=tio.LabelMap(labels), age=50)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_there_and_back(tmp_path, orientation):
    ct, labels = write_oriented(tmp_path, orientation)
    scans = to_scans(subject_of(ct, labels))
    wanted, truth = sg_hub.load_scan(ct), sg_hub.load_scan(labels, labels=True)
    for found, other in ((scans["ct"], wanted), (scans["organ"], truth)):
        np.testing.assert_array_equal(found.array, other.array)
        np.testing.assert_allclose(found.spacing, other.spacing, rtol=1e-5)
        np.testing.assert_allclose(found.origin, other.origin, atol=1e-4)
        np.testing.assert_allclose(found.direction, other.direction, atol=1e-5)
    subject = to_subject(wanted, truth.array[0].astype(np.uint8), age=50)
    for name, file in (("image", tio.ScalarImage(ct)), ("label", tio.LabelMap(labels))):
        np.testing.assert_array_equal(subject[name].data, file.data)
        np.testing.assert_allclose(subject[name].affine, file.affine, atol=1e-4)
    assert isinstance(subject["label"], tio.LabelMap)
    assert subject["age"] == 50
    with pytest.raises(InvalidInputError, match=r"result of shape \(1, 3, 3, 3\)"):
        to_image(wanted, np.zeros((3, 3, 3)))
    with pytest.raises(InvalidInputError, match="expected a ScalarImage"):
        to_scan(wanted)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_transform_gives_what_the_model_takes(tmp_path, orientation):
    ct, labels = write_oriented(tmp_path, orientation)
    out = tio.Compose([tio.ToCanonical(), Preprocess(COARSE)])(subject_of(ct, labels))
    scan = sg_hub.load_scan(ct)
    torch.testing.assert_close(out["ct"].data, COARSE.apply(scan)[0])
    assert out["organ"].spatial_shape == out["ct"].spatial_shape
    assert out["ct"].orientation == ("L", "P", "S")
    np.testing.assert_allclose(np.array(out["ct"].spacing) * out["ct"].spatial_shape, scan.extent, rtol=1e-5)
    assert isinstance(out.get_applied_transforms()[-1], Preprocess)


def test_images_only_where_they_are_meant(tmp_path):
    ct, labels = write_oriented(tmp_path, "RAS")
    out = Preprocess(COARSE, exclude=["organ"])(subject_of(ct, labels))
    assert out["organ"].spatial_shape == (20, 16, 12)
    assert out["ct"].spatial_shape != (20, 16, 12)
