"""The README's examples: those behind the marker are run as they stand, all others must at least be Python."""

import ast
import re
import shutil
from pathlib import Path

import pytest
import torch

from tests.folders import DEMO_SAMPLES, ROOT

SCAN = min((DEMO_SAMPLES / "openkbp" / "ct").glob("*.nii.gz"), key=lambda file: file.stat().st_size)
MARKER = "<!-- run by the tests -->"
BLOCK = re.compile(rf"^(?P<run>{re.escape(MARKER)}\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    (match["run"] is not None, match["code"]) for match in BLOCK.finditer((ROOT / "README.md").read_text("utf-8"))
]
RUN = [code for run, code in BLOCKS if run]
XRAY = min((DEMO_SAMPLES / "chestxray14" / "images").glob("*.png"))
USES = ["sg_hub.load_scan", "sg_hub.load_image", "export_onnx", "SlidingWindowInferer", "smp.Unet"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the first example with these words in a folder with a scan and an image, and gives its names."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(SCAN, tmp_path / "ct.nii.gz")
    shutil.copy(XRAY, tmp_path / "xray.png")

    def run(words):
        code = next(code for code in RUN if words in code)
        names = {"__name__": "readme"}
        exec(compile(code, "README.md", "exec"), names)
        return names

    return run


def test_every_example_is_python():
    assert len(BLOCKS) > len(RUN)
    for _, code in BLOCKS:
        ast.parse(code)


def test_every_marked_example_is_run():
    assert len(RUN) == (ROOT / "README.md").read_text("utf-8").count(MARKER) == len(USES)


@pytest.mark.slow
def test_first_example(run):
    names = run("sg_hub.load_scan")
    assert names["features"].shape == (128,)
    assert names["restored"].shape == (1, *names["scan"].size)
    assert Path("restored.nii.gz").is_file()


def test_the_same_for_images(run):
    names = run("sg_hub.load_image")
    assert names["features"].shape == (256,)
    assert names["restored"].shape == (1, *names["image"].size)
    assert Path("restored.png").is_file()


@pytest.mark.slow
def test_onnx(run):
    assert run("export_onnx")["difference"] < 1e-3
    assert Path("net.onnx").is_file()


@pytest.mark.slow
def test_monai(run):
    names = run("SlidingWindowInferer")
    size = names["x"].shape[2:]
    assert names["logits"].shape == (1, 3, *size)
    assert names["others"].shape == (1, 5, *size)
    assert torch.isfinite(names["others"]).all()


@pytest.mark.slow
def test_segmentation_models_pytorch_and_feature_lists(run):
    names = run("smp.Unet")
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
