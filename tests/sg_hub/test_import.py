"""`import sg_hub` brings only what a user of the networks needs; the rest is imported where it is used."""

import subprocess
import sys

import pytest

import sg_hub
from tests.support.folders import ROOT

LATE = [
    "h5py",
    "onnx",
    "onnxruntime",
    "monai",
    "torchio",
    "lightning",
    "highdicom",
    "nnunetv2",
    "SimpleITK",
    "timm",
    "torchvision",
    "PIL",
    "matplotlib",
    "zarr",
    "jinja2",
    "scipy",
    "pydantic",
]


def modules_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stdout.split()), result.stderr


@pytest.fixture(scope="module")
def imported():
    """With every public name looked up, for each comes from its room only then."""
    return modules_after("import sg_hub; [getattr(sg_hub, name) for name in dir(sg_hub)]")


def test_import_alone_brings_no_torch():
    assert "torch" not in modules_after("import sg_hub, sg_hub.errors")[0]


def test_every_public_name_is_there():
    assert set(sg_hub.__all__) <= set(dir(sg_hub))
    for name in sg_hub.__all__:
        assert getattr(sg_hub, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'loadscan'"):
        sg_hub.loadscan  # noqa: B018


def test_import_is_silent(imported):
    assert imported[1] == ""


@pytest.mark.parametrize("name", LATE)
def test_import_brings_nothing_heavy(imported, name):
    assert "sg_hub" in imported[0]
    assert name not in imported[0]


def test_import_brings_no_training(imported):
    assert "training" not in imported[0]


@pytest.mark.slow
def test_commands_bring_nothing_heavy_either():
    modules, _ = modules_after("import sg_hub.cli")
    assert not modules & set(LATE)
