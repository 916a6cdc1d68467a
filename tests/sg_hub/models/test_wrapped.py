"""Networks inside of others."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from sg_hub.models.wrapped import unwrapped


def test_a_network_is_found_in_what_shares_averages_or_compiles_it():
    network = nn.Conv3d(1, 1, 1)
    network.preprocessing = "its own"
    assert unwrapped(network) is network
    assert unwrapped(nn.DataParallel(network)) is network
    assert unwrapped(AveragedModel(network)).preprocessing == "its own"
    assert unwrapped(torch.compile(nn.DataParallel(network), backend="eager")) is network


def test_a_compiled_network_stays_compiled():
    compiled = torch.compile(nn.Conv3d(1, 1, 1), backend="eager")
    compiled._orig_mod.preprocessing = "its own"
    assert unwrapped(compiled) is compiled
