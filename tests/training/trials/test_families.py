"""Every family of 3D networks is fine-tuned on targets of both kinds, from its weights, its encoder, and at random."""

import pytest
import torch

import sg_hub
from sg_hub.models.dense_vnet import DenseVNet
from sg_hub.models.i3d import I3D
from sg_hub.models.medicalnet import MedicalNet
from sg_hub.preprocessing.preprocessing import Preprocessing
from tests.training.targets.target_folders import target_at
from tests.training.trials.small_trials import QUICK, SMALL, trial_of

SIDES = (32, 32, 8)
SIZE = f"grid.size={list(SIDES)}"
FAMILIES = {
    "medicalnet": (
        MedicalNet,
        {"width": 4, "depth": 18, "decoder_width": 2},
        {"intensity": "zscore", "low": -10, "high": 10},
    ),
    "i3d": (I3D, {"width": 4, "in_chans": 3, "decoder_width": 2}, {"repeat": True}),
    "dense_vnet": (DenseVNet, {"width": 6}, {"size": SIDES}),
}


@pytest.fixture
def folder(name, tmp_path):
    cls, settings, preprocessing = FAMILIES[name]
    torch.manual_seed(0)
    model = cls(**settings, head="features", preprocessing=Preprocessing(input_size=SIDES, **preprocessing))
    model.save_pretrained(tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", ["", "encoder:", "random:"])
def test_a_trial_of_segmentation(name, kind, folder, tmp_path, patches):
    done = trial_of(target_at("lidc-nodules", patches, *QUICK, *SMALL, SIZE), tmp_path, f"{kind}{folder}")
    assert 0 <= done.test.value <= 1
    before = sg_hub.from_pretrained(folder, in_chans=1).encoder.state_dict()
    after = done.network.encoder.state_dict()
    moved = max(float((after[key] - value).abs().max()) for key, value in before.items() if value.ndim == 5)
    assert moved > 0.1 if kind == "random:" else 0 < moved < 0.05


@pytest.mark.parametrize("name", FAMILIES)
def test_a_trial_of_classification(name, folder, tmp_path, patches):
    done = trial_of(target_at("lidc-candidates", patches, *QUICK, *SMALL, SIZE), tmp_path, folder)
    assert done.network.head_name == "classification"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_scan_is_embedded_by_the_preprocessing_that_travels_with_the_weights(name, folder):
    model = sg_hub.from_pretrained(folder)
    scan = sg_hub.Scan(torch.rand(1, 40, 30, 12).numpy() * 1000 - 500, spacing=(1, 1, 2))
    found = sg_hub.embed(model, scan, progress=False)
    assert found.shape == (model.encoder.channels[-1],)
