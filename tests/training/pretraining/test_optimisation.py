"""How the weights move."""

import itertools
import math

import pytest
import torch
from torch import nn

from training.pretraining.optimisation import Average, learning_rate, optimizer_of
from training.run.recipe import Pretrain


class Plan:
    """Of two stages of 2 and 8 epochs, each of 5 steps."""

    epochs, steps = 10, 5

    def stage_began(self, epoch):
        return 0 if epoch < 2 else 2


def rates(**settings):
    settings = Pretrain(lr=1.0, **settings)
    return [learning_rate(settings, Plan(), epoch, step) for epoch in range(10) for step in range(5)]


def test_halving():
    assert rates(halve_every=4) == [0.5 ** (step // 20) for step in range(50)]


def test_a_cosine_falls_at_every_step():
    found = rates(schedule="cosine")
    assert found[0] == 1
    assert found[25] == pytest.approx(0.5)
    assert all(later < earlier for earlier, later in itertools.pairwise(found))
    assert found[-1] == pytest.approx((1 + math.cos(math.pi * 49 / 50)) / 2)


def test_warming_up_starts_again_with_each_stage():
    found = rates(warmup=3, halve_every=100)
    assert found[:5] == [0.25, 0.5, 0.75, 1, 1]
    assert found[5:10] == [1] * 5
    assert found[10:15] == [0.25, 0.5, 0.75, 1, 1]


def test_adamw_spares_biases_and_norms():
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2))
    optimizer = optimizer_of(network, Pretrain(optimizer="adamw", weight_decay=0.5, lr=0.1))
    before = {name: value.clone() for name, value in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in network.named_parameters():
        kept = 0.95 if name == "0.weight" else 1.0
        torch.testing.assert_close(value.detach(), before[name] * kept)


def test_an_average_forgets_the_first_steps():
    network = nn.BatchNorm1d(1)
    average = Average(network, 0.9)
    for step in range(400):
        with torch.no_grad():
            network.weight.fill_(float(step >= 200))
            network.running_mean.fill_(float(step >= 200))
        average.update()
        if step == 199:
            assert average.network.weight.item() < 1e-6
    for value in (average.network.weight, average.network.running_mean):
        assert value.item() == pytest.approx(1 - 0.9**200)
    assert not average.network.weight.requires_grad


def test_without_an_average_the_network_is_what_trains():
    network = nn.Linear(2, 2)
    average = Average(network, 0.0)
    average.update()
    assert average.network is network
    assert average.state_dict() is None
