"""The grid: nothing is computed twice, whatever stops it, and tables of several machines become one."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sg_hub.cli import main
from sg_hub.errors import InvalidInputError
from tests.support.folders import ROOT
from tests.training.trials.small_grid import QUICK, command, run, small_weights, small_weights_2d
from training.data.leakage import patient_hashes
from training.trials.grids import grid as module
from training.trials.grids.results import read_results


def test_every_cell_has_a_row_and_a_folder(finished):
    rows = read_results(finished)
    cells = {(row["target"], row["kind"], row["trial"]) for row in rows.values()}
    assert len(cells) == len(rows) == 8
    for key, row in rows.items():
        folder = finished / "trials" / key
        items = [json.loads(line) for line in (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()]
        assert len(items) == row["items"]["test"]
        with np.load(folder / "examples.npz") as examples:
            assert {name.split("_")[0] for name in examples.files} == {"best", "median", "worst"}
            assert examples["best_image"].shape == (16, 16)
            if row["metric"] == "iou":
                assert examples["worst_truth"].shape == examples["worst_found"].shape == (16, 16)
                assert row["value"] == pytest.approx(np.mean([item["iou"] for item in items]))
        assert row["settings"]["settings"]["steps"] == 1
        assert "root" not in row["settings"]


def test_nothing_is_computed_twice_and_a_grid_can_be_extended(place, finished, tmp_path, monkeypatch):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    before = (out / "results.jsonl").read_bytes()
    real = module.result_of
    monkeypatch.setattr(module, "result_of", lambda *a, **k: pytest.fail("computed twice"))
    run(place, out, targets=["lidc-candidates", "lidc-nodules"])
    assert (out / "results.jsonl").read_bytes() == before
    monkeypatch.setattr(module, "result_of", real)
    run(place, out, trials=3)
    run(place, out, trials=1, inits=[f"encoder:{place / 'small'}"])
    run(place, out, trials=1, inits=[str(place / "small")], fractions=[0.5, 1.0])
    after = (out / "results.jsonl").read_bytes()
    assert after.startswith(before)
    assert len(read_results(out)) == 8 + 2 + 1 + 1


@pytest.mark.parametrize(
    "change", ["settings.lr=0.1", "grid.size=[16, 16, 16]", "splits.seed=4", "settings.mirror=x", "minimum_readers=2"]
)
def test_whatever_determines_a_trial_makes_another_cell(place, finished, tmp_path, change):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    run(place, out, trials=1, inits=[str(place / "small")], overrides=[*QUICK, f"lidc-candidates:{change}"])
    assert len(read_results(out)) == 9


def test_names_and_places_do_not_make_another_cell(place, finished, tmp_path):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    shutil.copytree(place, tmp_path / "elsewhere")
    overrides = [*QUICK, "title=Another title", "lidc-nodules:settings.lr=9"]
    run(tmp_path / "elsewhere", out, overrides=overrides)
    assert len(read_results(out)) == 8


KILLED = """
import os, signal, sys
from sg_hub.cli import main
from training.trials.grids import results, walk

def append(folder, row, files=None):
    if len(results.read_results(folder)) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    results.append(folder, row, files)
walk.append = append
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_killed_grid_loses_at_most_the_running_trial(place, tmp_path):
    out = tmp_path / "out"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", KILLED, *command(place, out)]
    killed = subprocess.run(arguments, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    kept = read_results(out)
    assert len(kept) == 2
    assert main(command(place, out)) == 0
    rows = read_results(out)
    assert len(rows) == 6
    assert list(rows)[: len(kept)] == list(kept)
    assert all((out / "trials" / key / "items.jsonl").is_file() for key in rows)


# -- several machines ------------------------------------------------------------------------------------------------


def test_initialisations_go_with_the_targets_of_their_dimensions(place, tmp_path):
    flat = small_weights_2d(tmp_path / "flat")
    both = [str(place / "small"), flat]
    small = [*QUICK, "lidc-candidates-2d:grid.size=[32, 32, 8]", "lidc-candidates-2d:crop=32"]
    out = run(place, tmp_path / "out", 1, both, targets=["lidc-candidates", "lidc-candidates-2d"], overrides=small)
    rows = read_results(out).values()
    assert {(row["target"], row["init"]) for row in rows} == {
        ("lidc-candidates", both[0]),
        ("lidc-candidates-2d", flat),
    }
    with pytest.raises(InvalidInputError, match="is a 2D network, and none of the targets takes one: lidc-candidates"):
        run(place, tmp_path / "alone", inits=[flat])
    with pytest.raises(InvalidInputError, match="is a 2D network, and none of the targets takes one"):
        run(place, tmp_path / "alone", inits=both)


def test_machines_agree_on_a_trial(place, finished, tmp_path):
    """The same cell computed elsewhere has the same key and, on the same kind of machine, the same result."""
    elsewhere = run(place, tmp_path / "out", trials=1)
    for key, row in read_results(elsewhere).items():
        assert row["values"] == read_results(finished)[key]["values"]


def test_a_trial_that_fails_does_not_keep_the_others_from_running(place, tmp_path, monkeypatch, capsys):
    whole = module.result_of

    def fragile(trial, **more):
        if trial.number == 0 and trial.start.init.startswith("random:"):
            raise InvalidInputError("the loss is nan")
        return whole(trial, **more)

    monkeypatch.setattr(module, "result_of", fragile)
    with pytest.raises(InvalidInputError, match=r"1 of 4 trials failed; .*\n.*trial 0: the loss is nan"):
        run(place, tmp_path)
    assert len(read_results(tmp_path)) == 3
    monkeypatch.undo()
    assert len(read_results(run(place, tmp_path))) == 4


# -- refused before anything is computed -----------------------------------------------------------------------------


def test_weights_that_saw_test_patients_are_refused_before_the_first_trial(place, tmp_path):
    names = [f"LIDC-IDRI-{n:04d}" for n in range(1, 13)]
    leaky = small_weights(tmp_path / "leaky", patients=patient_hashes("lidc-idri", names))
    with pytest.raises(InvalidInputError, match="pre-training set"):
        run(place, tmp_path / "out", inits=[str(place / "small"), leaky])
    assert read_results(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"trials": 0}, "at least 1"),
        ({"fractions": [2.0]}, "label fraction"),
        ({"inits": ["semantic-genesis-3d-tine"]}, "semantic-genesis-3d-tiny"),
        ({"targets": ["lidc-nodule"]}, "lidc-nodules"),
        ({"overrides": ["settings.step=1"]}, "step"),
        ({"overrides": [*QUICK, "lidc-nodule:settings.lr=9"]}, "no target is called 'lidc-nodule'"),
    ],
)
def test_what_cannot_be_had_is_named(place, tmp_path, more, said):
    with pytest.raises(InvalidInputError, match=said):
        run(place, tmp_path / "out", **more)


def test_few_labels_are_asked_for_without_all_of_them(place, tmp_path):
    out = tmp_path / "out"
    command = ["benchmark", "--targets", "lidc-candidates", "--inits", str(place / "small"), "--data"]
    command += [str(place / "data"), "--trials", "1", "--out", str(out), "--quiet", *QUICK, "--patients", "2"]
    assert main(command) == 0
    assert [row["labelled"] for row in read_results(out).values()] == [2]
    assert main([*command, "--label-fraction", "1"]) == 0
    assert {row.get("labelled") for row in read_results(out).values()} == {2, None}


def test_the_command_says_what_is_wrong_in_one_line(place, tmp_path, capsys):
    code = main(["benchmark", "--targets", "ncc", "--inits", str(place / "small"), "--out", str(tmp_path / "out")])
    assert code == 2
    error = capsys.readouterr().err
    assert error.startswith("sg-hub: error: target ncc: data/luna16 is not there")
    assert error.count("\n") == 1
