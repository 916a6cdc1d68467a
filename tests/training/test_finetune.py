import json

import numpy as np
import pytest
import torch
from scipy import stats
from training.compare import compare, welch

from sg_hub import Preprocessing, SemanticGenesis3D
from sg_hub.errors import InvalidInputError, ReadError
from training.finetune import Case, dice_cross_entropy, initialise, iou, run_trial, sample_batch
from training.leakage import patient_hashes
from training.targets import load_target

from .conftest import SAMPLES

PATIENTS = ["pt_201", "pt_207", "pt_222", "pt_225", "pt_229", "pt_230"]  # cord and mandible are drawn in these


@pytest.fixture
def target(tmp_path):
    """Cord and mandible in the sample patients: four to draw from, two to test on."""
    split = tmp_path / "split.csv"
    rows = [f"{name},{'train-pats' if i < 4 else 'validation-pats'}\n" for i, name in enumerate(PATIENTS)]
    split.write_text("patient,split\n" + "".join(rows), encoding="utf-8")
    settings = ["steps=2", "batch_size=2", "patch=[16, 16, 8]", "validate_every=1", 'precision="float32"']
    return load_target(
        "openkbp-organs",
        [
            f"images={SAMPLES / 'ct'}",
            f"labels={SAMPLES / 'labels'}",
            f"split={split}",
            "train_patients=2",
            "validation_patients=1",
            *(f"settings.{setting}" for setting in settings),
        ],
    )


@pytest.fixture
def weights(tmp_path):
    """A small untrained network, as if it had been pre-trained on pt_201."""
    torch.manual_seed(99)
    model = SemanticGenesis3D(
        width=2,
        num_classes=3,
        norm="running",
        preprocessing=Preprocessing(spacing=(8, 8, 6), input_size=(16, 16, 8)),
        provenance={"patients": patient_hashes("openkbp", ["pt_201"])},
    )
    model.save_pretrained(tmp_path / "weights")
    return str(tmp_path / "weights")


def test_a_trial_trains_on_its_patients_and_tests_on_the_others(target, weights):
    trial = run_trial(target, weights, seed=1, progress=False)
    assert len(trial["train"]) == 2
    assert len(trial["validation"]) == 1
    assert not set(trial["train"]) & set(trial["validation"])
    assert set(trial["iou_by_patient"]) == set(PATIENTS[4:])
    assert [step for step, _, _ in trial["curve"]] == [1, 2]
    again = run_trial(target, weights, seed=1, progress=False)
    assert again["iou"] == trial["iou"]
    assert again["curve"] == trial["curve"]
    assert run_trial(target, weights, seed=2, progress=False)["curve"] != trial["curve"]


def test_random_takes_the_architecture_and_none_of_the_weights(target, weights):
    pretrained, random = (initialise(init, target, 0) for init in (weights, f"random:{weights}"))
    assert random.config() | {"provenance": {}} == pretrained.config() | {"provenance": {}}
    loaded = SemanticGenesis3D.from_pretrained(weights).state_dict()
    key = "encoder.levels.0.0.conv.weight"
    assert torch.equal(pretrained.state_dict()[key], loaded[key])
    assert not torch.equal(random.state_dict()[key], loaded[key])


def test_test_patients_that_were_pre_trained_on_are_refused(target, weights, tmp_path):
    rows = [f"{name},{'validation-pats' if i == 0 else 'train-pats'}\n" for i, name in enumerate(PATIENTS)]
    (tmp_path / "split.csv").write_text("patient,split\n" + "".join(rows), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="pt_201"):
        run_trial(target, weights, seed=0, progress=False)


def test_too_few_patients_are_said(target, weights):
    with pytest.raises(InvalidInputError, match="needed"):
        run_trial(target.model_copy(update={"train_patients": 9}), weights, seed=0, progress=False)


def test_a_comparison_computes_nothing_twice_and_ends_in_a_table(target, weights, tmp_path, capsys):
    inits = [weights, f"random:{weights}"]
    out = compare(target, inits, 2, tmp_path / "out", progress=False)
    rows = [json.loads(line) for line in (out / "trials.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len({row["key"] for row in rows}) == 4
    before = (out / "trials.jsonl").read_bytes()
    compare(target, inits, 2, out, progress=False)
    assert (out / "trials.jsonl").read_bytes() == before
    compare(target, inits, 3, out, progress=False)
    assert (out / "trials.jsonl").read_bytes().startswith(before)
    assert len((out / "trials.jsonl").read_text(encoding="utf-8").splitlines()) == 6
    summary = json.loads((out / "weights.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in summary["rows"]] == ["spinal_cord", "mandible", "mean"]
    assert "random:" in (out / "summary.md").read_text(encoding="utf-8")
    assert (out / "curves.png").stat().st_size > 5000
    changed = target.model_copy(update={"settings": target.settings.model_copy(update={"steps": 1})})
    compare(changed, inits, 2, out, progress=False)
    assert len((out / "trials.jsonl").read_text(encoding="utf-8").splitlines()) == 10


def test_welch_is_scipys():
    a, b = [0.5, 0.6, 0.7, 0.65], [0.4, 0.45, 0.5, 0.3]
    found = welch(a, b)
    assert found["difference"] == pytest.approx(np.mean(a) - np.mean(b))
    assert found["p"] == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    assert found["low"] < found["difference"] < found["high"]


def test_cubes_hold_the_classes_in_turn_and_labels_move_with_the_image():
    label = torch.zeros(20, 18, 10, dtype=torch.uint8)
    label[2, 3, 4], label[15, 12, 8] = 1, 2
    case = Case(label.float()[None] / 2, label)
    noise = torch.Generator().manual_seed(0)
    for _ in range(5):
        x, y = sample_batch([case], 4, (8, 8, 8), 2, noise)
        assert x.shape == (4, 1, 8, 8, 8)
        torch.testing.assert_close(x[:, 0] * 2, y.float())
        assert all(y[i].any() for i in (0, 2))


def test_cubes_larger_than_the_scan_are_padded():
    case = Case(torch.ones(1, 5, 9, 4), torch.ones(5, 9, 4, dtype=torch.uint8))
    x, y = sample_batch([case], 2, (8, 8, 8), 1, torch.Generator().manual_seed(0))
    assert x.shape == (2, 1, 8, 8, 8)
    assert int(y[0].sum()) == 5 * 8 * 4


def test_iou_and_loss_on_known_masks():
    a, b = torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([0, 1, 1, 0]).bool()
    assert iou(a, b) == pytest.approx(1 / 3)
    assert iou(~(a | ~a), ~(a | ~a)) == 1.0
    labels = torch.zeros(1, 2, 2, 2, dtype=torch.long)
    labels[0, 0] = 1
    right = torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).float() * 40
    assert float(dice_cross_entropy(right, labels)) < 1e-4
    assert float(dice_cross_entropy(-right, labels)) > 10


def test_missing_data_is_named(target, weights):
    with pytest.raises(ReadError, match="not there"):
        run_trial(target.model_copy(update={"split": "nowhere.csv"}), weights, seed=0, progress=False)
