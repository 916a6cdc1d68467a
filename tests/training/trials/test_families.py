"""Every family of networks on targets: fine-tuned for two steps; its weights, its encoder alone, and at random."""

import pytest
import torch

import sg_hub
from sg_hub.models.registry import families, family
from sg_hub.preprocessing.preprocessing import Preprocessing
from tests.sg_hub.models.small_families import small
from tests.training.targets.target_folders import target_at
from tests.training.trials.small_trials import QUICK, trial_of
from training.trials.task.initialisation import look_up

TARGETS = {
    3: {"segmentation": "lidc-nodules", "classification": "lidc-candidates"},
    2: {"segmentation": "lidc-nodules-2d", "classification": "lidc-candidates-2d"},
}
SIZES = ("grid.size=[32, 32, 8]", "crop=32")


@pytest.mark.parametrize("head", ["segmentation", "classification"])
@pytest.mark.parametrize("name", families())
def test_every_family_can_be_fine_tuned(name, head, patches, tmp_path):
    small(name, head="features").save_pretrained(tmp_path / "weights")
    target = target_at(TARGETS[family(name).NDIM][head], patches, *QUICK, *SIZES)
    done = trial_of(target, tmp_path / "work", tmp_path / "weights")
    assert 0 <= done.test.value <= 1
    assert done.network.head_name == head
    before = sg_hub.from_pretrained(tmp_path / "weights", in_chans=1).encoder.state_dict()
    after = done.network.encoder.state_dict()
    kernels = [key for key, value in before.items() if value.ndim >= 4]
    assert 0 < max(float((after[key] - before[key]).abs().max()) for key in kernels) < 0.05


@pytest.mark.parametrize("name", families())
def test_every_family_is_an_initialisation_of_every_kind(name, patches, tmp_path):
    small(name, head="segmentation", num_classes=4).save_pretrained(tmp_path)
    target = target_at(TARGETS[family(name).NDIM]["segmentation"], patches, *QUICK, *SIZES)
    starts = [look_up(f"{kind}{tmp_path}") for kind in ("", "encoder:", "random:")]
    whole, encoder, random = (start.network(target, 1) for start in starts)
    assert len({start.fingerprint for start in starts}) == 3
    assert {type(network) for network in (whole, encoder, random)} == {family(name)}
    key = next(key for key, value in whole.encoder.state_dict().items() if value.ndim >= 4)
    first, second, fresh = (network.encoder.state_dict()[key] for network in (whole, encoder, random))
    assert torch.equal(first, second)
    assert not torch.equal(first, fresh)


@pytest.mark.parametrize("name", [name for name in families() if family(name).NDIM == 3])
def test_a_scan_is_embedded_by_the_preprocessing_that_travels_with_the_weights(name, tmp_path):
    repeat = small(name, head="features").in_chans == 3
    settings = Preprocessing(input_size=(32, 32, 8), repeat=repeat or None)
    small(name, head="features", preprocessing=settings).save_pretrained(tmp_path)
    model = sg_hub.from_pretrained(tmp_path)
    scan = sg_hub.Scan(torch.rand(1, 40, 30, 12).numpy() * 1000 - 500, spacing=(1, 1, 2))
    assert sg_hub.embed(model, scan, progress=False).shape == (model.encoder.channels[-1],)


def test_timm_names_are_initialisations():
    random = look_up("random:timm:lcnet_050")  # nothing is downloaded for it
    assert (random.ndim, random.stride, random.kind) == (2, (32, 32), "random")
    assert random.provenance == {"patients": []}
