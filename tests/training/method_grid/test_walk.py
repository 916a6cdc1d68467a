"""A grid of two cells and a random network on the sample patients: made, measured, stopped and gone on with."""

import json
import re

import numpy as np
import pytest

from sg_hub import InvalidInputError, ReadError
from tests.training.conftest import SAMPLES, SMALL
from tests.training.report.rows import row as trial_row
from training.method_grid import walk
from training.method_grid.walk import compare_methods
from training.run.explain import toml_text
from training.trials.grids.results import append
from training.trials.task.initialisation import look_up
from training.worth.rows import append as append_worth
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


def measured(target, weights, out, overrides, **options):
    """In place of `worth`: landmark errors of 30, 20 and 15 mm, on patients that scatter widely."""
    assert (target, options["parts"]) == ("organs", ("zero", "frozen"))
    patients = [f"p{number}" for number in range(8)]
    for init in weights:
        errors = np.broadcast_to((30, 20, 15)[kind(init)] + np.arange(-8.0, 8.0, 2)[None, :, None] + 1, (8, 8, 1))
        fields = {"part": "zero", "what": "decoder", "measure": "landmark error", "classes": ["a"], "joint": True}
        key = f"{kind(init)}"
        append_worth(out, [worth_row(errors, key=key, weights=init, draws=patients, patients=patients, **fields)])


def tried(targets, inits, count, out, **options):
    """In place of `benchmark`: AUC of 50, 60 and 61 %, and the same scatter in all."""
    assert targets == ["nodules"]
    out.mkdir(exist_ok=True)
    for init in inits:
        for trial in range(count):
            value = (0.5, 0.6, 0.61)[kind(init)] + 0.02 * trial + 0.001 * kind(init) * (trial % 2)
            made = trial_row(init, trial, value, "nodules") | {"weights": look_up(init).fingerprint}
            append(out, made | {"key": f"{kind(init)}-{trial}"}, {})


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """The grid's file and the overrides that it needs here."""
    monkeypatch.setattr("training.statistics.patients.RESAMPLES", 50)
    for name, stand_in in (("worth", measured), ("benchmark", tried), ("report", lambda folder: folder)):
        monkeypatch.setattr(walk, name, stand_in)
    (tmp_path / "restoring.toml").write_text(RECIPE)
    (tmp_path / "two.toml").write_text(GRID.format(recipe=toml_text(str(tmp_path / "restoring.toml"))))
    small = [text for text in SMALL if not text.startswith(("method.", "pretrain.epochs"))]
    mine = (f"source={SAMPLES / 'ct'}", "pretrain.samples_per_epoch=8")
    return tmp_path / "two.toml", [f"recipe.{text}" for text in (*small, *mine)]


def test_a_grid_is_walked_and_what_is_done_is_passed_over(grid, discovered, tmp_path, monkeypatch):
    path, overrides = grid
    out = tmp_path / "out"
    out.mkdir()
    (out / "store").symlink_to(discovered)  # as an earlier run has left it
    assert compare_methods(path, out, overrides, only=["pretrain"], cells=["restoring"], progress=False) == out
    early = compare_methods(path, out, overrides, only=["report"], progress=False).read_text()
    assert "Not there yet: restoring-semantics." in early
    assert "## What they are worth" not in early
    before = (out / "runs" / "restoring" / "pretrain.json").read_bytes()
    page = compare_methods(path, out, overrides, progress=False).read_text()
    assert (out / "runs" / "restoring" / "pretrain.json").read_bytes() == before
    assert "Not there yet" not in page
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
    compare_methods(path, out, overrides, only=["pretrain"])


def test_the_store_and_the_patterns_are_made_once(grid, tmp_path, monkeypatch):
    path, overrides = grid
    made = []
    for name in ("prepare", "autoencode", "discover"):
        monkeypatch.setattr(walk, name, lambda recipe, name=name, **options: made.append((name, recipe.run)))
    with pytest.raises(ReadError):  # there is no store after all
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
