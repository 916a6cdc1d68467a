"""docs/extending.md: its files are installed as a package beside this one, and what it says is done with them."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.support.folders import DEMO_SAMPLES, ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^<!-- (\w+)(?:: (\S+))? -->\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = {name: text for kind, name, text in BLOCKS if kind == "file"}
TINY = (
    "model.width=2",
    "prepare.workers=1",
    "autoencode.epochs=1",
    "pretrain.size=[16, 16, 8]",
    "pretrain.batch_size=4",
    "pretrain.samples_per_epoch=8",
    "pretrain.epochs=1",
    "pretrain.workers=0",
)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The package of the page, as pip would install it."""
    folder = tmp_path_factory.mktemp("extensions")
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    information = folder / "my_extensions-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (information / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def run(package: Path, folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(package), str(ROOT)))}
    found = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_an_example_is_short():
    for name in ("rotation.py", "denoising.py", "two_level_net.py", "npz_folder.py"):
        assert len([line for line in FILES[name].splitlines() if line.strip()]) < 40


def pretrained(package: Path, folder: Path, name: str, *commands: str) -> None:
    """Run commands with a method of the page, as its recipe there has it."""
    (recipe,) = (tomllib.loads(text)["method"] for kind, of, text in BLOCKS if (kind, of) == ("recipe", name))
    method = ", ".join(f"{key} = {json.dumps(value)}" for key, value in recipe.items())
    settings = [f"source={DEMO_SAMPLES / 'openkbp' / 'ct'}", f"run={folder}", f"method={{ {method} }}", *TINY]
    steps = [[command, "demo", *settings, "--quiet"] for command in commands]
    run(package, folder, "-c", f"from sg_hub.cli import main\nassert not any(main(step) for step in {steps})")


@pytest.mark.slow
def test_a_method_of_another_package_is_prepared_trained_and_evaluated(package, tmp_path):
    pretrained(package, tmp_path, "rotation", "prepare", "transforms", "pretrain", "evaluate")
    metrics = json.loads((tmp_path / "pretraining" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert metrics["stage"] == "rotation"
    assert 0 <= metrics["validation_top1"] <= 1
    evaluation = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert any(name.startswith("top1") for name in evaluation)
    assert (tmp_path / "transforms.png").is_file()
    loads = "import sg_hub; print(sg_hub.from_pretrained('pretraining/model', head='segmentation', num_classes=2))"
    assert "SemanticGenesis3D" in run(package, tmp_path, "-c", loads)


@pytest.mark.slow
def test_a_method_of_another_package_gets_semantics(package, tmp_path):
    pretrained(package, tmp_path, "denoising", "prepare", "autoencode", "discover", "pretrain", "evaluate")
    lines = (tmp_path / "pretraining" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["stage"] for line in lines] == ["classification", "joint"]
    evaluation = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert {"top1", "mse", "mse_corrupted", "by_transformation"} <= evaluation.keys()
    assert (tmp_path / "restorations.png").is_file()


def test_a_family_of_another_package_is_saved_loaded_and_used(package, tmp_path):
    (code,) = (text for kind, name, text in BLOCKS if kind == "run" and name == "family")
    shown = "\nprint(tuple(logits.shape), model.class_names[1], encoder.channels)"
    assert run(package, tmp_path, "-c", code + shown).split("\n")[-2] == "(1, 3, 16, 16, 8) liver (8, 16)"


@pytest.mark.slow
def test_a_reader_of_another_package_is_fine_tuned_on(package, tmp_path):
    (tmp_path / "boxes").mkdir()
    draw = np.random.default_rng(0)
    for patient in range(10):
        label = np.zeros((16, 16, 8), dtype=np.uint8)
        x, y = draw.integers(0, 8, size=2)
        label[x : x + 8, y : y + 8, 2:6] = 1
        np.savez(tmp_path / "boxes" / f"p{patient}_0.npz", image=0.2 + 0.6 * label, label=label)
    (tmp_path / "boxes.toml").write_text(FILES["boxes.toml"], encoding="utf-8")
    tune = ("finetune", "--init", "semantic-genesis-3d-tiny", "--target", "boxes.toml", "--out", "my-model", "--quiet")
    run(package, tmp_path, "-m", "sg_hub", *tune)
    results = json.loads((tmp_path / "my-model" / "results.json").read_text(encoding="utf-8"))
    assert results["values"]["iou"] > 0.5
    config = json.loads((tmp_path / "my-model" / "config.json").read_text(encoding="utf-8"))
    assert config["class_names"] == ["background", "box"]
