"""Where networks run."""

import pytest
import torch
from torch import nn

from sg_hub.devices import device_of
from sg_hub.errors import InvalidInputError
from sg_hub.models.loading import moved


def test_auto_is_the_first_gpu_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert [device_of(name).type for name in ("auto", "cpu", "mps")] == ["mps", "cpu", "mps"]
    with pytest.raises(InvalidInputError, match="--device cuda: torch finds no such device here"):
        device_of("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of("auto").type == "cuda"
    monkeypatch.undo()
    assert device_of("cpu").type == "cpu"


@pytest.mark.parametrize(("gpu", "words"), [(False, "try 'cpu'"), (True, "try 'cuda' or 'cpu'")])
def test_a_device_that_cannot_be_used_is_answered_with_those_that_are_there(monkeypatch, gpu, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    for device in ("abacus", "cuda:99"):
        with pytest.raises(InvalidInputError, match=rf"device='{device}' cannot be used .*: {words}$"):
            moved(nn.Linear(1, 1), device)
