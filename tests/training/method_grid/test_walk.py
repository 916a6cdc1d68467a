"""A grid of two cells and a random network on the sample patients: made, measured, stopped and gone on with."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sg_hub import InvalidInputError
from sg_hub.errors import InputsError
from tests.training.conftest import SAMPLES, SMALL
from tests.training.report.rows import row as trial_row
from training.method_grid import walk
from training.method_grid.walk import compare_methods
from training.run.explain import toml_text
from training.trials.grids.results import append
from training.trials.task.initialisation import look_up
from training.worth.rows import append as append_worth
from training.worth.rows import read_rows
from training.worth.rows import row as worth_row

GRID = """
name = "two"
epochs = 2
classification_epochs = 1
[cells.restoring]
recipe = {recipe}
[cells.restoring-semantics]
recipe = {recipe}
semantics = true
without = ["restoring"]
[worth]
target = "organs"
[trials]
targets = ["nodules"]
count = 3
"""
RECIPE = """
base = "demo"
name = "restoring"
run = "unused"
[method]
name = "restoration"
"""


def kind(init):
    return ("random", "restoring", "restoring-semantics").index("random" if "random:" in init else init.split("/")[-1])


def measure(target, weights, out, overrides, **options):
    """In place of `worth`: landmark errors of 30, 20 and 15 mm, on patients that scatter widely."""
    assert (target, options["parts"]) == ("organs", ("zero", "frozen"))
    patients = [f"p{number}" for number in range(8)]
    for init in weights:
        errors = np.broadcast_to((30, 20, 15)[kind(init)] + np.arange(-8.0, 8.0, 2)[None, :, None] + 1, (8, 8, 1))
        fields = {"part": "zero", "what": "decoder", "measure": "landmark error", "classes": ["a"], "joint": True}
        key = f"{kind(init)}"
        append_worth(out, [worth_row(errors, key=key, weights=init, draws=patients, patients=patients, **fields)])


def known(weights, out, **options):
    """In place of `worth.measured`: by the cell, wherever its weights lie."""
    names = {str(kind(init)): init for init in weights if not init.endswith("third")}
    return [replace(row, weights=names[row.key]) for row in read_rows(out) if row.key in names]


def tried(targets, inits, count, out, **options):
    """In place of `benchmark`: AUC of 50, 60 and 61 %, and the same scatter in all."""
    assert targets == ["nodules"]
    out.mkdir(exist_ok=True)
    for init in inits:
        for trial in range(count):
            value = (0.5, 0.6, 0.61)[kind(init)] + 0.02 * trial + 0.001 * kind(init) * (trial % 2)
            made = trial_row(init, trial, value, "nodules") | {"weights": look_up(init).fingerprint}
            append(out, made | {"key": f"{kind(init)}-{trial}"}, {})


def stand_in(patch):
    patch.setattr("training.statistics.patients.RESAMPLES", 50)
    target = SimpleNamespace(name="nodules", model_dump=lambda **options: {"metric": "auc"})
    stand_ins = {
        "worth": measure,
        "measured": known,
        "benchmark": tried,
        "report": lambda folder, rows: folder,
        "load_target": lambda *arguments: target,
    }
    for name, one in stand_ins.items():
        patch.setattr(walk, name, one)


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch):
    stand_in(monkeypatch)


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """The grid's file and the overrides that it needs here."""
    folder = tmp_path_factory.mktemp("grid")
    (folder / "restoring.toml").write_text(RECIPE)
    (folder / "two.toml").write_text(GRID.format(recipe=toml_text(str(folder / "restoring.toml"))))
    small = [text for text in SMALL if not text.startswith(("method.", "pretrain.epochs"))]
    mine = (f"source={SAMPLES / 'ct'}", "pretrain.samples_per_epoch=8")
    return folder / "two.toml", [f"recipe.{text}" for text in (*small, *mine)]


@pytest.fixture(scope="module")
def walked(grid, discovered, tmp_path_factory):
    """The grid, made and measured."""
    path, overrides = grid
    out = tmp_path_factory.mktemp("walked")
    (out / "store").symlink_to(discovered)  # as an earlier run has left it
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        assert compare_methods(path, out, overrides, only=["pretrain"], cells=["restoring"], progress=False) == out
        early = compare_methods(path, out, overrides, only=["report"], progress=False).read_text()
        assert "Not there yet: restoring-semantics." in early
        assert "## What they are worth" not in early
        before = (out / "runs" / "restoring" / "pretrain.json").read_bytes()
        compare_methods(path, out, overrides, progress=False)
    assert (out / "runs" / "restoring" / "pretrain.json").read_bytes() == before
    return out


@pytest.fixture
def out(walked, tmp_path):
    """A copy of it, to go on from."""
    return shutil.copytree(walked, tmp_path / "out", symlinks=True)


def page_of(grid, out, *more, **options):
    path, overrides = grid
    return compare_methods(path, out, [*overrides, *more], only=["report"], **options).read_text()


def test_a_grid_is_walked_and_what_is_done_is_passed_over(grid, out, monkeypatch):
    page = (out / "methods.md").read_text()
    assert "Not there yet" not in page
    assert "Not comparable" not in page
    for name in ("restoring", "restoring-semantics"):
        record = json.loads((out / "runs" / name / "pretrain.json").read_text())
        assert record["epochs"] * record["cubes_per_epoch"] == 16
    assert re.search(r"^\| restoring \| no \| 16 \| [\d.]+ \| restoration after elastic", page, re.M)
    assert re.search(r"^\| restoring-semantics \| yes \| 16 \| [\d.]+ \| top-1 accuracy over 3 patterns", page, re.M)
    assert re.search(r"^\| restoring \| 20.0 \(.* to .*\) \| 62.03 \(.* to .*\), 3 trials \|$", page, re.M)
    added, random = page.split("## What semantics add")[1].split("## Against random")
    landmarks = r"^\| landmarks decoder \(mm, lower is better\) \| restoring-semantics"
    assert "On patients whom training has not seen." in page  # the samples have no test patients
    assert re.search(rf"{landmarks} \| restoring \| -5.0 \(-5.0 to -5.0\) \| 0.0", added, re.M)
    assert re.search(rf"{landmarks} \| random \| -15.0 ", random, re.M)
    assert re.search(
        r"^\| nodules: AUC \(%\) \| restoring-semantics \| restoring \| \+1.0\d \(.*\) \| 0.001 \| 0.56 ", added, re.M
    )
    assert (out / "methods.png").is_file()
    record = json.loads((out / "runs" / "restoring" / "pretrain.json").read_text())
    del record["recipe"]["pretrain"]["clip"], record["record_sha256"]  # by code that did not have them yet
    (out / "runs" / "restoring" / "pretrain.json").write_text(json.dumps(record))
    for name in ("pretrain", "evaluate", "prepare", "discover"):
        monkeypatch.setattr(walk, name, None)  # nothing is done again
    path, overrides = grid
    compare_methods(path, out, overrides, only=["pretrain"])


def test_a_cell_that_saw_more_cubes_is_named_and_the_rest_is_shown(grid, out):
    record = json.loads((out / "runs" / "restoring-semantics" / "pretrain.json").read_text())
    del record["record_sha256"]
    (out / "runs" / "restoring-semantics" / "pretrain.json").write_text(json.dumps(record | {"epochs": 3}))
    shutil.copytree(out / "weights" / "restoring", out / "weights" / "third")
    shutil.copytree(out / "runs" / "restoring", out / "runs" / "third", symlinks=True)
    third = f"cells.third={{ recipe = {toml_text(str(grid[0].parent / 'restoring.toml'))} }}"
    page = page_of(grid, out, third)
    assert "**Not comparable**: restoring-semantics has seen 24 cubes, the others 16." in page
    assert re.search(r"^\| restoring-semantics \(24 cubes\) \| 15.0 \(.*\) \| 63", page, re.M)
    assert "## What semantics add" not in page
    assert "| restoring | random |" in page
    trained = page_of(grid, out, third, "epochs=3")
    assert "What is said of restoring, restoring-semantics, third is not all of one training, or" in trained
    assert re.search(r"^\| third \|  \| 62.03 \(.*\), 3 trials \|$", page, re.M)  # the same weights by another name


def test_weights_that_were_trained_further_have_none_of_the_older_trials(grid, out):
    shutil.rmtree(out / "weights" / "restoring")
    shutil.copytree(out / "weights" / "restoring-semantics", out / "weights" / "restoring")
    for trial in range(3):  # by other settings
        row = trial_row("x", trial, 0.1, "nodules", metric="iou") | {"key": f"other-{trial}", "task": "other"}
        append(out / "trials", row | {"weights": look_up(str(out / "weights" / "restoring")).fingerprint}, {})
    page = page_of(grid, out)
    assert "What is said of restoring is not all of one training" in page
    assert "3 trials by other settings or on other items are left out." in page
    assert page.count(" 63.07 (") == 2
    assert "62.03" not in page


def test_what_is_damaged_or_fails_keeps_the_rest_from_nothing(grid, out, monkeypatch):
    shutil.copy(out / "runs" / "restoring" / "evaluation.json", out / "runs" / "restoring-semantics")  # former method
    (out / "weights" / "restoring" / "model.safetensors").unlink()  # killed while it was written
    page = page_of(grid, out)
    assert "Not there yet: restoring." in page
    assert re.search(r"^\| restoring-semantics \| yes \| 16 \| [\d.]+ \| not evaluated yet \| \| \|$", page, re.M)
    assert re.search(r"^\| restoring-semantics \| 15.0 ", page, re.M)

    def fails(*arguments, **options):
        raise InvalidInputError("it diverged")

    for name in ("pretrain", "benchmark"):
        monkeypatch.setattr(walk, name, fails)
    path, overrides = grid
    with pytest.raises(InputsError, match="3 of 6 failed; what was made of the others is kept") as caught:
        compare_methods(path, out, overrides)
    failed = ["pretrain restoring failed: it diverged", "pretrain restoring-semantics failed: it diverged"]
    assert [str(error) for error in caught.value.errors] == [*failed, "trials of nodules failed: it diverged"]
    assert all(f"{line}." in (out / "methods.md").read_text() for line in failed)


def test_names_of_any_length_and_values_that_there_are_not_are_drawn(grid, out):
    rows = read_rows(out / "worth")
    nothing = np.full((8, 8, 1), np.nan)
    fields = {
        key: getattr(rows[0], key) for key in ("part", "what", "measure", "draws", "patients", "classes", "joint")
    }
    append_worth(out / "worth", [worth_row(nothing, key=rows[1].key, weights=rows[1].weights, **fields)])
    assert re.search(r"^\| restoring \| - \| 62.03 ", page_of(grid, out), re.M)


def test_the_store_and_the_patterns_are_made_once(grid, tmp_path, monkeypatch):
    path, overrides = grid
    made = []
    for name in ("prepare", "autoencode", "discover"):
        monkeypatch.setattr(walk, name, lambda recipe, name=name, **options: made.append((name, recipe.run)))
    with pytest.raises(InputsError, match="4 of 4 failed"):  # there is no store after all
        compare_methods(path, tmp_path / "out", overrides, progress=False)
    assert made == [(name, str(tmp_path / "out" / "store")) for name in ("prepare", "autoencode", "discover")]


@pytest.mark.parametrize(
    ("more", "options", "words"),
    [
        (["cells.restoring.without=['other']"], {}, "names 'other': there are restoring"),
        (["epochs=1"], {}, "epochs=1 of all stages, but 1 of the first alone"),
        (["cells.restoring.recipe=demo-2d"], {}, "differ in model|needs 2 numbers"),
        ([], {"only": ["all"]}, "steps all: expected some of pretrain, worth"),
        ([], {"cells": ["none"]}, "cells none: expected some of restoring"),
    ],
)
def test_what_cannot_be_compared_or_done_is_refused(grid, tmp_path, more, options, words):
    path, overrides = grid
    with pytest.raises(InvalidInputError, match=words):
        compare_methods(path, tmp_path / "out", [*overrides, *more], **options)
    assert not (tmp_path / "out").exists()
