"""The grid that was measured here: its page is what its records say."""

import json
from pathlib import Path

from training.method_grid.measures import trials_of, worth_of
from training.method_grid.page import PAGE, write_page
from training.method_grid.recipe import load_grid, recipes_of
from training.methods.registry import method_of
from training.run.folder.metrics import read_metrics
from training.trials.task.initialisation import RANDOM
from training.worth.rows import Row

MEASURED = Path(__file__).resolve().parents[3] / "training" / "measured" / "grid"
FIRST = "## What they are worth"


def name_of(init):
    return RANDOM if init.startswith(f"{RANDOM}:") else init


def test_worth_and_trials_are_those_of_the_records(tmp_path):
    grid = load_grid("methods-3d-tiny", ['trials.targets=["lidc-malignancy"]'])
    worth = [Row(**line) for line in read_metrics(MEASURED / "worth.jsonl")]
    trials = {line["key"]: line for line in read_metrics(MEASURED / "trials.jsonl")}
    recipes = recipes_of(grid, tmp_path)
    named = {name_of(row.weights): row.weights for row in worth}
    measures = worth_of(worth, {name: named[name] for name in (RANDOM, *recipes)})
    measures += trials_of(trials, {row["weights"]: [name_of(row["init"])] for row in trials.values()})
    again = write_page(grid, recipes, [], measures, tmp_path).read_text(encoding="utf-8")
    there = (MEASURED / PAGE).read_text(encoding="utf-8")
    assert FIRST in again
    assert again[again.index(FIRST) :] == there[there.index(FIRST) :]


def test_what_each_has_learned_is_that_of_the_records(tmp_path):
    grid = load_grid("methods-3d-tiny", [])
    recipes = recipes_of(grid, tmp_path)
    page = (MEASURED / PAGE).read_text(encoding="utf-8")
    cells = [json.loads(line) for line in (MEASURED / "cells.jsonl").read_text("utf-8").splitlines()]
    assert {cell["cell"] for cell in cells} == set(recipes)
    for cell in cells:
        lines = page[page.index(f"\n| {cell['cell']} | ") + 1 :].splitlines()
        cubes = cell["epochs"] * cell["cubes_per_epoch"]
        assert f" | {cubes} | {cell['minutes']:g} | " in lines[0]
        results = method_of(recipes[cell["cell"]]).results(cell["evaluation"])
        for result, line in zip(results, lines, strict=False):
            assert f" | {result.name} | {result.value:.4g} | " in line
