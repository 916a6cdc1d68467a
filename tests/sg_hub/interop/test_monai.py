"""MONAI's pipelines and bundles give what sg_hub gives for the same file, in whatever orientation it is."""

import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor, set_track_meta
from monai.transforms import Compose, Invertd, LoadImaged, Orientationd, SaveImaged

import sg_hub
from sg_hub import InvalidInputError, Preprocessing, SgHubError
from sg_hub.interop.monai import Preprocessd
from tests.sg_hub.interop.oriented import ORIENTATIONS, write_oriented

KEYS = ["image", "label"]
COARSE = Preprocessing(spacing=(3, 3, 4))


def pipeline(preprocessing, *between):
    return Compose(
        [LoadImaged(KEYS, ensure_channel_first=True), *between, Preprocessd("image", preprocessing, "label")]
    )


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("preprocessing", [Preprocessing(), COARSE], ids=["own spacing", "resampled"])
def test_a_pipeline_gives_what_the_model_takes(tmp_path, orientation, preprocessing):
    ct, labels = write_oriented(tmp_path, orientation)
    scan, truth = sg_hub.load_scan(ct), sg_hub.load_scan(labels, labels=True)
    out = pipeline(preprocessing)({"image": ct, "label": labels})
    torch.testing.assert_close(out["image"].as_tensor(), preprocessing.apply(scan)[0])
    if preprocessing.spacing is None:
        np.testing.assert_array_equal(out["label"].numpy(), truth.array)
        np.testing.assert_allclose(out["image"].affine[:3, 3] * torch.tensor([-1, -1, 1]), scan.origin, atol=1e-4)
    corner = out["image"].affine @ torch.tensor([-0.5, -0.5, -0.5, 1], dtype=torch.float64)
    wanted = scan.to_mm(np.array([[-0.5, -0.5, -0.5]]))[0] * (-1, -1, 1)
    np.testing.assert_allclose(corner[:3], wanted, atol=1e-4)  # the outer edges stay where they are


def test_the_usual_orientation_of_monai_before_it_changes_nothing(tmp_path):
    ct, labels = write_oriented(tmp_path, "LAS")
    wanted = COARSE.apply(sg_hub.load_scan(ct))[0]
    for codes in ("RAS", "PLI"):
        out = pipeline(COARSE, Orientationd(KEYS, axcodes=codes))({"image": ct, "label": labels})
        torch.testing.assert_close(out["image"].as_tensor(), wanted)


def test_an_affine_in_lps_is_taken_as_such(tmp_path):
    ct, labels = write_oriented(tmp_path, "PIR")
    loaded = LoadImaged(KEYS, ensure_channel_first=True)({"image": ct, "label": labels})
    for image in loaded.values():  # as of a reader with affine_lps_to_ras=False
        image.affine = torch.diag(torch.tensor([-1.0, -1, 1, 1], dtype=image.affine.dtype)) @ image.affine
        image.meta["space"] = "LPS"
    out = Preprocessd("image", COARSE, "label")(loaded)
    torch.testing.assert_close(out["image"].as_tensor(), COARSE.apply(sg_hub.load_scan(ct))[0])
    loaded["image"].meta["space"] = "screen"
    with pytest.raises(InvalidInputError, match="its affine is in screen"):
        Preprocessd("image", COARSE)(loaded)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_results_come_back_to_the_file(tmp_path, orientation):
    ct, labels = write_oriented(tmp_path, orientation)
    before = pipeline(Preprocessing())
    out = before({"image": ct, "label": labels})
    out["pred"] = out["label"].clone()
    save = SaveImaged("pred", output_dir=tmp_path, output_postfix="out", separate_folder=False, resample=False)
    out = Compose([Invertd("pred", before, "image", nearest_interp=True, to_tensor=True), save])(out)
    written, wanted = nib.load(tmp_path / "ct_out.nii.gz"), nib.load(labels)
    np.testing.assert_array_equal(np.asarray(written.dataobj), np.asarray(wanted.dataobj))
    np.testing.assert_allclose(written.affine, wanted.affine, atol=1e-4)


def test_resampled_results_come_back_by_their_nearest_or_by_interpolation(tmp_path):
    ct, labels = write_oriented(tmp_path, "LAS")
    scan = sg_hub.load_scan(ct)
    before = pipeline(COARSE)
    out = before({"image": ct, "label": labels})
    out["pred"], out["share"] = out["label"].clone(), out["image"].clone()
    post = Compose(
        [Invertd("pred", before, "image", nearest_interp=True), Invertd("share", before, "image", nearest_interp=False)]
    )
    back = post(out)
    assert back["pred"].shape == (1, 20, 16, 12)
    assert set(np.unique(back["pred"])) <= {0, 1, 2}
    wanted = scan.file_grid.file_view(COARSE.restore_grid(COARSE.apply(scan), scan)[0].numpy())
    np.testing.assert_allclose(back["share"].numpy(), wanted, atol=1e-6)


def test_what_has_no_orientation_is_refused(tmp_path):
    transform = Preprocessd("image", COARSE)
    with pytest.raises(InvalidInputError, match="has no affine: read it with LoadImaged"):
        transform({"image": torch.rand(1, 8, 8, 8)})
    with pytest.raises(InvalidInputError, match="has no channel axis"):
        transform({"image": MetaTensor(torch.rand(8, 8, 8))})
    sheared = torch.eye(4)
    sheared[0, 1] = 0.5
    with pytest.raises(InvalidInputError, match="sheared"):
        transform({"image": MetaTensor(torch.rand(1, 8, 8, 8), affine=sheared)})
    with pytest.raises(InvalidInputError, match="expected a model of scans"):
        Preprocessd("image", torch.nn.Identity())
    ct, labels = write_oriented(tmp_path, "RAS")
    set_track_meta(False)
    try:
        with pytest.raises(RuntimeError, match="applying transform") as caught:
            pipeline(COARSE)({"image": ct, "label": labels})
        assert "has no affine" in str(caught.value.__cause__)
    finally:
        set_track_meta(True)


@pytest.mark.parametrize(
    ("module", "package"), [("monai", "monai"), ("torchio", "torchio"), ("lightning", "lightning")]
)
def test_a_missing_package_names_the_extra(monkeypatch, module, package):
    monkeypatch.delitem(sys.modules, f"sg_hub.interop.{module}", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SgHubError, match=rf"{package} cannot be used .*: pip install 'sg_hub\[{package}\]'"):
        __import__(f"sg_hub.interop.{module}")
