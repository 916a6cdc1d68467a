"""The sg-hub command with 2D weights and images."""

import shutil

import numpy as np
import pytest
from PIL import Image as PillowImage

from sg_hub import ImagePreprocessing, SemanticGenesis2D
from tests.folders import DEMO_SAMPLES
from tests.sg_hub.cli.test_cli import CT, assert_mistake, run  # noqa: F401

XRAYS = sorted((DEMO_SAMPLES / "chestxray14" / "images").glob("*.png"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder of the small models `pretext` and `segmentation`."""
    folder = tmp_path_factory.mktemp("models")
    for head in ("pretext", "segmentation"):
        settings = ImagePreprocessing(input_size=(64, 64))
        model = SemanticGenesis2D(
            encoder="lcnet_035", decoder_width=2, num_classes=3, head=head, preprocessing=settings
        )
        model.eval().save_pretrained(folder / head)
    return folder


def test_info(run, models):  # noqa: F811
    code, out, _ = run("info", models / "pretext")
    assert code == 0
    for part in ("SemanticGenesis2D", 'encoder: "lcnet_035"', "preprocessing.modality", "strides (2, 4, 8, 16, 32)"):
        assert part in out


def test_embed(run, models):  # noqa: F811
    code, _, _ = run("embed", *XRAYS[:2], "--model", models / "pretext", "--out", "features.npy", "--quiet")
    assert code == 0
    features = np.load("features.npy")
    assert features.shape[0] == 2
    first, second = (row / np.abs(row).max() for row in features)
    assert not np.allclose(first, second)


def test_restore_segment_and_preprocess_write_what_they_say(run, models):  # noqa: F811
    code, out, _ = run("restore", XRAYS[0], "--model", models / "pretext", "--cubes", 3)
    assert (code, "mean squared error" in out) == (0, True)
    code, out, _ = run("segment", XRAYS[0], "--model", models / "segmentation", "--picture", "picture.png")
    assert (code, "class 2" in out) == (0, True)
    with PillowImage.open("labels.png") as labels:
        assert labels.size == (224, 224)
        assert np.asarray(labels).max() <= 2
    code, _, _ = run("preprocess", XRAYS[0], "--model", models / "pretext", "--out", "x.npy", "--picture", "seen.png")
    assert code == 0
    assert np.load("x.npy").shape == (1, 1, 64, 64)
    for picture in ("restored.png", "picture.png", "seen.png"):
        with PillowImage.open(picture) as opened:
            assert len(np.unique(np.asarray(opened))) > 50


def test_mistakes_are_one_line(run, models, tmp_path):  # noqa: F811
    model = ("--model", models / "pretext")
    assert_mistake(run("embed", CT, *model), "format")
    assert_mistake(run("embed", tmp_path / "nothing.png", *model), "no such file")
    assert_mistake(run("embed", XRAYS[0], *model, "--nan", "-1000"), "for scans")
    segment = ("segment", XRAYS[0], "--model", models / "segmentation")
    assert_mistake(run(*segment, "--overlap", "0.3"), "--overlap is for scans")
    assert_mistake(run("embed", CT, "--bits", "12"), "--bits is for images")
    assert_mistake(run("embed", XRAYS[0], *model, "--bits", "4"), "4 bits")
    assert_mistake(run(*segment, "--out", "labels.nii.gz"), ".png")
    image = shutil.copy(XRAYS[0], tmp_path / "mine.png")
    assert_mistake(run("segment", image, "--model", models / "segmentation", "--out", image), "would be lost")
    assert_mistake(run("embed", XRAYS[0]), "2D picture")  # the default weights are for scans
