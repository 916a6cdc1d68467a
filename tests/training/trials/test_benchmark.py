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
import torch

from sg_hub import Preprocessing, SemanticGenesis2D, SemanticGenesis3D
from sg_hub.cli import main
from sg_hub.errors import InvalidInputError, ReadError
from tests.folders import ROOT
from tests.training.report.test_report import row as row_of
from tests.training.run.other_process import at_work
from tests.training.targets.target_folders import lidc_patches
from training.data.leakage import patient_hashes
from training.trials import grid as module
from training.trials.benchmark import benchmark
from training.trials.results import append, merge, read_results

QUICK = [
    "grid.size=[16, 16, 8]",
    "crop=16",
    "settings.steps=1",
    "settings.validate_every=1",
    "settings.batch_size=2",
    'settings.precision="float32"',
]


def small_weights(folder: Path, **provenance) -> str:
    torch.manual_seed(1)
    model = SemanticGenesis3D(
        width=2, num_classes=3, norm="batch", preprocessing=Preprocessing(), provenance=provenance
    )
    model.save_pretrained(folder)
    return str(folder)


def small_weights_2d(folder: Path) -> str:
    torch.manual_seed(1)
    SemanticGenesis2D(encoder="lcnet_050", decoder_width=4).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Data, and weights."""
    folder = tmp_path_factory.mktemp("place")
    lidc_patches(folder / "data" / "lidc", patients=12)
    small_weights(folder / "small")
    return folder


def run(place, out, trials=2, inits=None, **more):
    inits = inits or [str(place / "small"), f"random:{place / 'small'}"]
    more = {"targets": ["lidc-candidates"], "data": place / "data", "overrides": QUICK} | more
    return benchmark(more.pop("targets"), inits, trials, out, progress=False, **more)


@pytest.fixture(scope="module")
def finished(place, tmp_path_factory):
    """A grid of two initialisations, two targets and two trials."""
    out = tmp_path_factory.mktemp("results") / "out"
    return run(place, out, targets=["lidc-candidates", "lidc-nodules"])


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


def test_a_half_written_last_line_is_dropped(place, finished, tmp_path):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    lines = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    (out / "results.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:50])
    assert len(read_results(out)) == 7
    run(place, out, targets=["lidc-candidates", "lidc-nodules"])
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({row["key"] for row in rows}) == len(rows) == 8


def test_a_damaged_line_is_named(finished, tmp_path):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    lines = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    (out / "results.jsonl").write_bytes(lines[0] + b"{oops\n" + b"".join(lines[1:]))
    with pytest.raises(ReadError, match="line 2 is damaged"):
        read_results(out)


def test_a_long_cut_off_line_is_dropped_too(tmp_path):
    append(tmp_path, row_of("a", 0, 0.5) | {"key": "a", "filler": "x" * 200_000})
    with open(tmp_path / "results.jsonl", "ab") as file:
        file.write(b'{"key": "b", "filler": "' + b"y" * 150_000)
    append(tmp_path, row_of("a", 1, 0.5) | {"key": "c"})
    assert list(read_results(tmp_path)) == ["a", "c"]


def command(place, out, *more):
    inits = [str(place / "small"), f"random:{place / 'small'}"]
    return ["benchmark", "--targets", "lidc-nodules", "--inits", *inits, "--trials", "3", "--out", str(out), "--data",
            str(place / "data"), "--quiet", *QUICK, *more]  # fmt: skip


KILLED = """
import os, signal, sys
from sg_hub.cli import main
from training.trials import benchmark, results

def append(folder, row, files=None):
    if len(results.read_results(folder)) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    results.append(folder, row, files)
benchmark.append = append
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


def test_tables_merge_without_doubles(place, finished, tmp_path, capsys):
    first = run(place, tmp_path / "first", trials=2)
    second = run(place, tmp_path / "second", trials=3, inits=[str(place / "small")])
    whole = tmp_path / "whole"
    assert main(["merge", str(first), str(second), str(finished), "--out", str(whole)]) == 0
    assert "9 trials added, 6 were there already" in capsys.readouterr().out
    assert set(read_results(whole)) == {*read_results(first), *read_results(second), *read_results(finished)}
    assert all((whole / "trials" / key / "examples.npz").is_file() for key in read_results(whole))
    assert merge([first, second, finished], whole) == (0, 15)
    assert merge([whole], first) == (5, 4)
    with pytest.raises(ReadError, match="holds no results"):
        merge([tmp_path], whole)


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


def test_two_benchmarks_do_not_write_to_one_folder(place, tmp_path):
    with at_work(tmp_path), pytest.raises(InvalidInputError, match="is in use by process"):
        run(place, tmp_path)


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


@pytest.mark.slow
def test_trials_run_side_by_side_on_ray(place, finished, tmp_path):
    out = tmp_path / "out"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", "training", *command(place, out, "--ray", "--cpus-per-trial", "1")]
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = read_results(out)
    assert len(rows) == 6
    serial = read_results(finished)
    both = [key for key in rows if key in serial]
    assert len(both) == 4
    assert all(rows[key]["values"] == serial[key]["values"] for key in both)


def test_more_than_a_cluster_has_is_refused():
    from training.trials.on_ray import _check_resources

    _check_resources({"CPU": 4.0}, 4, 0)
    with pytest.raises(InvalidInputError, match="--cpus-per-trial 5: the cluster has 4 CPUs"):
        _check_resources({"CPU": 4.0}, 5, 0)
    with pytest.raises(InvalidInputError, match=r"--gpus-per-trial 0\.25: the cluster has 0 GPUs"):
        _check_resources({"CPU": 4.0}, 1, 0.25)


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


def test_the_command_says_what_is_wrong_in_one_line(place, tmp_path, capsys):
    code = main(["benchmark", "--targets", "ncc", "--inits", str(place / "small"), "--out", str(tmp_path / "out")])
    assert code == 2
    error = capsys.readouterr().err
    assert error.startswith("sg-hub: error: target ncc: data/luna16 is not there")
    assert error.count("\n") == 1


def test_targets_are_listed_and_shown(place, tmp_path, capsys):
    assert main(["targets"]) == 0
    assert "lidc-malignancy" in capsys.readouterr().out
    split = tmp_path / "split.csv"
    lidc = f"root={place / 'data' / 'lidc'}"
    assert main(["targets", "lidc-candidates", lidc, "--split", str(split)]) == 0
    assert "train: " in capsys.readouterr().out
    assert split.read_text(encoding="utf-8").count("\n") == 13
