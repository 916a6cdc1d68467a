import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import sg_hub
from sg_hub import SemanticGenesis3D
from sg_hub.cli import main
from sg_hub.errors import InvalidInputError, ReadError
from tests.support.folders import ROOT
from tests.support.forked import ended
from tests.training.conftest import SAMPLES, SMALL, small_images, small_recipe
from training.discovery.patterns import PatternTable
from training.pretraining import state
from training.pretraining.pretrain import pretrain
from training.run.folder.metrics import read_metrics


def weights(run):
    return load_file(run / "pretraining" / "model" / "model.safetensors")


def timeless(run):
    """The metrics, but for the speed."""
    rows = read_metrics(run / "pretraining" / "metrics.jsonl")
    return [{key: value for key, value in row.items() if key != "cubes_per_second"} for row in rows]


def test_two_stages_and_what_they_write(run):
    folder = pretrain(small_recipe(run), progress=False)
    rows = read_metrics(run / "pretraining" / "metrics.jsonl")
    assert [row["stage"] for row in rows] == ["classification", "joint", "joint"]
    assert "mse" not in rows[0]
    assert {"mse", "cross_entropy", "top1", "validation_mse", "validation_mse_corrupted"} <= rows[1].keys()
    for row in rows[1:]:  # the loss is the paper's
        assert row["loss"] == pytest.approx(row["mse"] + 0.01 * row["cross_entropy"], rel=1e-5)
    for picture in ("restorations.png", "curves.png"):
        assert (run / "pretraining" / picture).stat().st_size > 5000
    model = SemanticGenesis3D.from_pretrained(folder)
    assert model.num_classes == 3
    assert model.preprocessing.spacing == (4.0, 4.0, 3.0)
    assert len(model.provenance["patients"]) == 12
    record = json.loads((run / "pretrain.json").read_text(encoding="utf-8"))
    assert record["recipe"]["seed"] == 2020
    assert record["versions"]["torch"]


def test_the_classification_stage_leaves_the_decoder_alone(run):
    recipe = small_recipe(run, "pretrain.epochs=0")
    pretrain(recipe, progress=False)
    trained = weights(run)
    torch.manual_seed(recipe.seed)
    fresh = SemanticGenesis3D(width=2, num_classes=3, norm="batch").state_dict()
    parameters = [key for key in fresh if key.endswith(("weight", "bias"))]
    changed = {key for key in parameters if not torch.equal(fresh[key], trained[key])}
    assert {key for key in parameters if key.startswith(("encoder.", "classifier."))} == changed


def test_learning_rate_is_halved(run):
    pretrain(small_recipe(run, "pretrain.halve_every=1"), progress=False)
    rates = [row["lr"] for row in read_metrics(run / "pretraining" / "metrics.jsonl")]
    assert rates == pytest.approx([1e-3, 5e-4, 2.5e-4])


def test_early_stopping(run):
    pretrain(small_recipe(run, "pretrain.patience=2", "pretrain.epochs=30", "pretrain.lr=0.3"), progress=False)
    rows = read_metrics(run / "pretraining" / "metrics.jsonl")
    losses = [row["validation_loss"] for row in rows if row["stage"] == "joint"]
    assert len(losses) < 30
    best = losses.index(min(losses))
    assert best == len(losses) - 1 - 2  # stopped after two epochs that were no better


def test_the_classification_stage_is_never_cut_short(run):
    stubborn = ("pretrain.classification_epochs=5", "pretrain.patience=1", "pretrain.lr=0.3", "pretrain.epochs=1")
    pretrain(small_recipe(run, *stubborn), progress=False)
    rows = read_metrics(run / "pretraining" / "metrics.jsonl")
    assert [row["stage"] for row in rows] == ["classification"] * 5 + ["joint"]


@pytest.mark.slow
def test_reading_processes_change_nothing(run):
    pretrain(small_recipe(run), progress=False)
    expected = weights(run)
    (run / "pretraining").rename(run / "alone")
    pretrain(small_recipe(run, "pretrain.workers=2"), progress=False)
    assert all(torch.equal(value, expected[key]) for key, value in weights(run).items())


def test_patients_that_changed_their_split_after_discovery_are_refused(run):
    table = run / "store.zarr" / "patients.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",train,", ",test,", 1))
    with pytest.raises(InvalidInputError, match="another split"):
        pretrain(small_recipe(run), progress=False)


def test_from_the_checkpoint_before_a_damaged_one_the_weights_are_the_same(run, capsys):
    pretrain(small_recipe(run, "pretrain.epochs=1"), progress=False)
    checkpoint = run / "pretraining" / "checkpoint.pt"
    whole, expected = checkpoint.read_bytes(), torch.load(checkpoint, weights_only=True)
    rows = timeless(run)
    checkpoint.write_bytes(whole[:1000] + bytes([whole[1000] ^ 4]) + whole[1001:])
    pretrain(small_recipe(run, "pretrain.epochs=1"), progress=False)
    assert "is damaged" in capsys.readouterr().err
    again = torch.load(checkpoint, weights_only=True)
    for part in ("network", "optimizer"):
        torch.testing.assert_close(again[part], expected[part], rtol=0, atol=0)
    assert timeless(run) == rows
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        (run / "pretraining" / name).write_bytes(b"PK nothing")
    with pytest.raises(ReadError, match=r"checkpoint\.pt is damaged"):
        pretrain(small_recipe(run, "pretrain.epochs=1"), progress=False)


def killed_at_a_checkpoint(saves, recipe):
    """In a process of its own: pre-train, and be killed right after so many checkpoints."""
    save = state.save_checkpoint

    def save_and_be_killed(path, values):
        nonlocal saves
        save(path, values)
        saves -= 1
        if saves == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    state.save_checkpoint = save_and_be_killed
    main(["pretrain", "demo", *recipe])


MOVED = ("pretrain.optimizer=adamw", "pretrain.schedule=cosine", "pretrain.warmup=2", "pretrain.clip=0.5")
MOVED = (*MOVED, "pretrain.average=0.9")


@pytest.mark.slow
def test_killed_and_started_again_gives_the_same_weights_bit_for_bit(run, discovered):
    pretrain(small_recipe(run, *MOVED), progress=False)
    expected, expected_rows = weights(run), timeless(run)
    (run / "pretraining").rename(run / "never killed")
    recipe = (f"source={SAMPLES / 'ct'}", f"run={run}", *SMALL, *MOVED, "--quiet")
    for saves in (1, 2):  # right after a checkpoint, in the middle of an epoch or at its end
        assert ended(killed_at_a_checkpoint, saves, recipe) == -signal.SIGKILL
    pretrain(small_recipe(run, *MOVED), progress=False)
    resumed = weights(run)
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(resumed[key], expected[key]) for key in expected)
    assert timeless(run) == expected_rows


def test_the_average_is_what_is_published(run):
    pretrain(small_recipe(run, "pretrain.average=0.9", "pretrain.epochs=1"), progress=False)
    state, published = torch.load(run / "pretraining" / "checkpoint.pt", weights_only=True), weights(run)
    for key, value in published.items():
        assert torch.equal(value, state["average"][f"inner.model.{key}"])
    assert any(not torch.equal(value, state["network"][f"inner.model.{key}"]) for key, value in published.items())


def stamp(path):
    return path.stat().st_mtime_ns


@pytest.mark.slow
def test_two_processes_under_torchrun(run):
    """Two steps of a run in one command, as `regenerate` has them; tests/training/pretraining/test_processes.py says
    that the figures are right."""
    (run / "both.py").write_text(
        "import sys\nfrom sg_hub.cli import main\n"
        "sys.exit(main(['prepare', *sys.argv[1:]]) or main(['pretrain', *sys.argv[1:]]))\n"
    )
    command = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    arguments = ("demo", f"source={SAMPLES / 'ct'}", f"run={run}", *SMALL, "--quiet")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, run / "both.py", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("12 were there already") == 1, "one process speaks"
    rows = read_metrics(run / "pretraining" / "metrics.jsonl")
    assert len(rows) == 3  # one process writes
    assert json.loads((run / "pretrain.json").read_text(encoding="utf-8"))["processes"] == 2
    SemanticGenesis3D.from_pretrained(run / "pretraining" / "model")


def test_a_checkpoint_of_another_recipe_is_refused(run):
    pretrain(small_recipe(run, "pretrain.epochs=0"), progress=False)
    with pytest.raises(ReadError, match="another recipe"):
        pretrain(small_recipe(run, "pretrain.lr=0.01"), progress=False)


def test_a_run_can_be_extended_as_if_it_had_always_been_longer(run):
    pretrain(small_recipe(run, "pretrain.epochs=3"), progress=False)
    expected = weights(run)
    (run / "pretraining").rename(run / "at once")
    pretrain(small_recipe(run, "pretrain.epochs=1"), progress=False)
    curves = run / "pretraining" / "curves.png"
    shorter = curves.read_bytes()
    pretrain(small_recipe(run, "pretrain.epochs=3"), progress=False)
    assert all(torch.equal(value, expected[key]) for key, value in weights(run).items())
    longer = curves.read_bytes()
    curves.write_bytes(shorter)  # as where it was killed after its last epoch, before they were drawn
    pretrain(small_recipe(run, "pretrain.epochs=3"), progress=False)
    assert curves.read_bytes() == longer != shorter


def test_one_value_of_a_channel_is_too_few_for_a_norm(run):
    small = ("pretrain.size=[8, 8, 8]", "pretrain.batch_size=1")
    with pytest.raises(InvalidInputError, match=r"size=\[8, 8, 8\] with 1 in a part of a batch leaves"):
        pretrain(small_recipe(run, *small), progress=False)


def test_missing_steps_are_named(tmp_path, run):
    with pytest.raises(ReadError, match="prepare"):
        pretrain(small_recipe(tmp_path / "nothing"), progress=False)
    (run / "discovery" / "patterns.csv").unlink()
    with pytest.raises(ReadError, match="sg-hub discover"):
        pretrain(small_recipe(run), progress=False)


def test_a_table_without_validation_rows_is_refused(run):
    path = run / "discovery" / "patterns.csv"
    path.write_text(
        "".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if not line.endswith("validation\n"))
    )
    with pytest.raises(ReadError, match=r"patterns\.csv is not what `sg-hub discover` recorded .*changed by hand"):
        pretrain(small_recipe(run), progress=False)
    (run / "discover.json").unlink()
    with pytest.raises(InvalidInputError, match="validation"):
        pretrain(small_recipe(run), progress=False)


def test_discovery_table_is_the_one_of_the_recipe(run):
    table = PatternTable.load(run / "discovery" / "patterns.csv")
    assert table.classes == 3
    assert len(table.rows("train")) == 3 * 4 * 2
    assert (run / "discovery" / "patterns.png").stat().st_size > 5000


def test_same_seed_same_weights(trained_images, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(trained_images, again, ignore=shutil.ignore_patterns("pretraining", "pretrain.json"))
    pretrain(small_images(again), progress=False)
    first, second = (sg_hub.from_pretrained(run / "pretraining" / "model") for run in (trained_images, again))
    for key, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[key], value), key
