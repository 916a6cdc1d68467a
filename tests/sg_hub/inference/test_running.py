"""How a model is run: what is done to it for speed changes nothing that it gives, and is undone."""

import copy

import pytest
import torch
from torch import nn

from sg_hub import SemanticGenesis3D
from sg_hub.inference.running import evaluation


def trained(*layers: nn.Module) -> nn.Sequential:
    """With statistics that are not those of a fresh network."""
    torch.manual_seed(0)
    network = nn.Sequential(*layers).train()
    for _ in range(3):
        network(3 + 2 * torch.randn(4, 2, 8, 8, 8))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return network


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm3d) for module in model.modules())


def test_normalisations_are_folded_and_put_back():
    torch.manual_seed(0)
    model = SemanticGenesis3D(width=2, norm="batch", head="segmentation", num_classes=2).train()
    for _ in range(3):
        model(0.5 + 0.5 * torch.rand(2, 1, 16, 16, 16))
    before, x = copy.deepcopy(model.state_dict()), torch.rand(1, 1, 16, 16, 16)
    there = norms(model)
    with evaluation(model, None), torch.inference_mode():
        assert norms(model) == 0 < there
        found = model(x)
    assert norms(model) == there
    assert all(module.training for module in model.modules())
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.inference_mode():
        assert torch.allclose(found, model.eval()(x), atol=1e-5)


def test_they_are_put_back_after_an_error():
    network = trained(nn.Conv3d(2, 2, 3), nn.BatchNorm3d(2))
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ZeroDivisionError), evaluation(network, None):
        raise ZeroDivisionError
    assert norms(network) == 1
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_layer_that_is_used_twice_keeps_its_weights():
    twice = nn.Conv3d(2, 2, 3, padding=1)
    network = trained(nn.Sequential(twice, nn.BatchNorm3d(2)), nn.Sequential(twice, nn.BatchNorm3d(2)))
    x = torch.rand(1, 2, 8, 8, 8)
    with torch.inference_mode():
        expected = network.eval()(x)
        with evaluation(network, None):
            assert torch.allclose(network(x), expected, atol=1e-5)


def test_weights_that_two_layers_share_are_kept():
    one, other = nn.Conv3d(2, 2, 3, padding=1), nn.Conv3d(2, 2, 3, padding=1)
    other.weight = one.weight
    network = trained(nn.Sequential(one, nn.BatchNorm3d(2)), other)
    x = torch.rand(1, 2, 8, 8, 8)
    with torch.inference_mode():
        expected = network.eval()(x)
        with evaluation(network, None):
            assert torch.allclose(network(x), expected, atol=1e-5)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm3d(2, track_running_stats=False), nn.BatchNorm3d(2, affine=False), nn.InstanceNorm3d(2)]
)
def test_what_the_normalisation_gives_stays(norm):
    network = trained(nn.Conv3d(2, 2, 3, padding=1), copy.deepcopy(norm))
    x = torch.rand(2, 2, 8, 8, 8)
    with torch.inference_mode():
        expected = network.eval()(x)
        with evaluation(network, None):
            assert torch.allclose(network(x), expected, atol=1e-5)


def test_who_looks_at_a_layer_still_sees_it():
    network = trained(nn.Conv3d(2, 2, 3), nn.BatchNorm3d(2))
    seen = []
    network[1].register_forward_hook(lambda *values: seen.append(values))
    with evaluation(network, None), torch.inference_mode():
        network(torch.rand(1, 2, 8, 8, 8))
    assert len(seen) == 1
