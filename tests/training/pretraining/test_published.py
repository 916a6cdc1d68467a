"""The network as it is kept."""

import random
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sg_hub import SemanticGenesis3D
from sg_hub.errors import ReadError
from training.pretraining import published
from training.pretraining.published import AROUND, load_network, save_network


class Around(nn.Module):
    """A model and a layer that is not part of it."""

    def __init__(self):
        super().__init__()
        self.model, self.layer = SemanticGenesis3D(width=1, num_classes=2), nn.Linear(3, 2)


METHOD = SimpleNamespace(network=lambda blueprint: Around())


def test_no_flipped_bit_of_what_is_around_the_model_gives_another_network(tmp_path):
    network = Around()
    save_network(network, tmp_path)
    path, draw = tmp_path / AROUND, random.Random(0)
    whole = path.read_bytes()

    def loaded():
        return load_network(METHOD, None, network.model, tmp_path).layer.state_dict()

    seen = 0
    for place in [*range(0, 8 * len(whole), 97), *(draw.randrange(8 * len(whole)) for _ in range(40))]:
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        try:
            found = loaded()
        except ReadError:
            seen += 1
        else:
            assert all(torch.equal(found[key], value) for key, value in network.layer.state_dict().items())
    assert seen > 30
    path.write_bytes(whole)
    assert all(torch.equal(loaded()[key], value) for key, value in network.layer.state_dict().items())


def test_what_was_around_another_network_is_refused(tmp_path):
    network = Around()
    network.layer = nn.Linear(4, 2)
    save_network(network, tmp_path)
    with pytest.raises(ReadError, match="is damaged or of another network"):
        load_network(METHOD, None, Around().model, tmp_path)


def test_what_is_around_a_network_and_is_missing_is_not_made_up(tmp_path):
    network = Around()
    save_network(network, tmp_path)
    (tmp_path / AROUND).unlink()
    with pytest.raises(ReadError, match="trained around the model, is missing"):
        load_network(METHOD, None, network.model, tmp_path)


def test_a_kill_between_the_model_and_what_is_around_it_gives_no_mixture(tmp_path, monkeypatch):
    network, better = Around(), Around()
    save_network(network, tmp_path)
    load_network(METHOD, None, network.model, tmp_path)

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(published, "write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            save_network(better, tmp_path)
    with pytest.raises(ReadError, match=r"is of other weights than .* Run the same `sg-hub pretrain` again"):
        load_network(METHOD, None, better.model, tmp_path)
    save_network(better, tmp_path)
    load_network(METHOD, None, better.model, tmp_path)


def test_what_an_earlier_method_left_around_its_network_is_taken_away(tmp_path):
    save_network(Around(), tmp_path)
    network = Around()
    del network.layer
    save_network(network, tmp_path)
    assert not (tmp_path / AROUND).exists()
    load_network(SimpleNamespace(network=lambda blueprint: network), None, network.model, tmp_path)
