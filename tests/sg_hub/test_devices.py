"""Where networks run."""

import pytest
import torch

from sg_hub.devices import device_of
from sg_hub.errors import InvalidInputError


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
