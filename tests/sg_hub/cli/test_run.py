"""How a command ends: exit codes, warnings, interrupts, readers that go away, and what is not installed."""

import subprocess
import sys
import warnings

import pytest
import torch

from sg_hub import SemanticGenesis3D
from sg_hub.cli import run as run_module
from sg_hub.cli.commands import info
from tests.sg_hub.cli.saying import assert_mistake


def test_warnings_show_only_when_asked_for(run, models, monkeypatch):
    def warn(name):
        warnings.warn("a library says something", stacklevel=1)
        return SemanticGenesis3D.from_pretrained(name)

    monkeypatch.setattr(info, "from_pretrained", warn)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run("info", models / "pretext")[0] == 0
        assert caught == []
        assert run("info", models / "pretext", "--verbose")[0] == 0
        assert [str(warning.message) for warning in caught] == ["a library says something"]


def test_stopping_is_no_traceback(run, models, monkeypatch):
    def stop(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "from_pretrained", stop)
    code, _, error = run("info", models / "pretext")
    assert code == 130
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(models):
    command = [sys.executable, "-m", "sg_hub", "info", str(models / "pretext")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_command_of_training_without_its_packages_says_how_to_install_them(run, monkeypatch):
    found = run_module.find_spec
    monkeypatch.setattr(run_module, "find_spec", lambda name: None if name == "zarr" else found(name))
    assert_mistake(run("pretrain", "demo"), "pretrain needs", "zarr", "pip install 'sg_hub[training]'")
    assert run("pretrain", "--help")[0] == 0
    assert run("models")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "x.nii"),
        ("pretrain", "demo"),
        ("finetune", "--init", "x", "--target", "y", "--out", "z"),
        ("benchmark", "--targets", "y", "--inits", "x"),
        ("models",),
    ],
)
def test_a_device_that_is_not_there_is_said_before_anything_else(run, arguments, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert_mistake(run(*arguments, "--device", "cuda"), "--device cuda", "--device cpu")
    assert list(tmp_path.iterdir()) == []
