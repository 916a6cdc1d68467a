"""docs/other-tools.md: its examples are run as they stand, and compared with what the other packages give."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch

import sg_hub
from sg_hub import Preprocessing, SemanticGenesis3D
from tests.repository.documents import RUN, SCAN, blocks, run
from tests.sg_hub.interop.oriented import write_oriented
from tests.sg_hub.io.formats.dicom.dicom_files import write_series
from tests.support.folders import ROOT
from tests.training.targets import target_folders
from training.targets import load_target

EXAMPLES = [block for block in blocks(ROOT / "docs" / "other-tools.md") if block.mark == RUN]
USES = ["export_onnx", "SlidingWindowInferer", "Preprocessd", "export_bundle", "smp.Unet", "save_dicom_seg", "torchio"]


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Runs the example with these words in a folder with a scan, a series and a model, and gives its names."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(SCAN, tmp_path / "ct.nii.gz")
    write_series(tmp_path / "series", StudyInstanceUID="1.2", FrameOfReferenceUID="1.3")
    network = SemanticGenesis3D(
        width=2,
        norm="instance",
        head="segmentation",
        class_names=("background", "cord", "mandible"),
        num_classes=3,
        preprocessing=Preprocessing(input_size=(16, 16, 8)),
    )
    network.save_pretrained(tmp_path / "my-model")

    def example(words):
        names = {"__name__": "page"}
        run(next(block for block in EXAMPLES if words in block.text), names)
        return names

    return example


def test_every_example_is_run():
    assert [next(use for use in USES if use in block.text) for block in EXAMPLES] == USES


@pytest.mark.slow
def test_onnx(example):
    assert example("export_onnx")["difference"] < 1e-3
    assert Path("net.onnx").is_file()


@pytest.mark.slow
def test_monai(example):
    names = example("SlidingWindowInferer")
    size = names["x"].shape[2:]
    assert names["logits"].shape == (1, 3, *size)
    assert names["others"].shape == (1, 5, *size)
    assert torch.isfinite(names["others"]).all()


@pytest.mark.slow
def test_segmentation_models_pytorch_and_feature_lists(example):
    names = example("smp.Unet")
    model, x = names["model"], names["x"]
    import timm

    timms = timm.create_model("resnet18", features_only=True, in_chans=1, pretrained=False)
    wanted = list(zip(timms.feature_info.channels(), timms.feature_info.reduction(), strict=True))
    assert list(zip(model.encoder.channels, model.encoder.strides, strict=True)) == wanted
    assert [(f.shape[1], x.shape[2] // f.shape[2]) for f in names["features"]] == wanted
    assert names["masks"].shape == (1, 2, 224, 224)
    with torch.inference_mode():
        theirs = names["network"].encoder(x)[1:]
        for one, other in zip(names["features"], theirs, strict=True):
            torch.testing.assert_close(one, other)


def test_dicom_segmentation(example):
    names = example("save_dicom_seg")
    data = pydicom.dcmread("labels.dcm")
    assert [segment.SegmentLabel for segment in data.SegmentSequence] == ["cord", "mandible"]
    assert data.pixel_array.sum() == (names["labels"] > 0).sum()


def test_preprocessing_in_monai_and_torchio(example):
    write_oriented(Path(), "LAS")  # ct.nii.gz, smaller
    names = example("Preprocessd")
    scan, model = sg_hub.load_scan("ct.nii.gz"), names["model"]
    with torch.inference_mode():
        wanted = model(model.preprocess(scan), pad=True).argmax(1)[0]
    written = sg_hub.load_scan("out/ct_labels.nii.gz", labels=True)
    np.testing.assert_array_equal(written.array[0], wanted)
    np.testing.assert_allclose(written.origin, scan.origin, atol=1e-3)
    names = example("torchio")
    np.testing.assert_array_equal(sg_hub.load_scan("labels.nii.gz", labels=True).array[0], names["labels"])
    assert names["ready"]["image"].spatial_shape == names["ready"]["label"].spatial_shape


def test_bundle(example):
    Path("scans").mkdir()
    write_oriented(Path("scans"), "LAS")[1].unlink()
    names = example("export_bundle")
    assert isinstance(names["network"], SemanticGenesis3D)
    assert sg_hub.load_scan("labels/ct_labels.nii.gz", labels=True).size == (20, 16, 12)


@pytest.mark.parametrize(("name", "make"), [("liver", "nnUNet_raw/Dataset007_Liver"), ("lesions", "bids")])
def test_targets(name, make, tmp_path):
    page = blocks(ROOT / "docs" / "other-tools.md")
    block = next(block for block in page if block.mark == f"file: {name}.toml")
    (tmp_path / f"{name}.toml").write_text(block.text)
    (target_folders.nnunet if name == "liver" else target_folders.bids)(tmp_path / make)
    target = load_target(tmp_path / f"{name}.toml", weights=[Preprocessing(input_size=(8, 8, 8))])
    items = target.split_items().items
    assert {item.split for item in items} == {"train", "validation", "test"}
    assert target.load(items[0]).image.shape[0] == target.channels
