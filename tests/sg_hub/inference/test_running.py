"""A model is as it was after it ran, in one thread or in several."""

import threading

import pytest
import torch
from torch import nn

from sg_hub.inference.running import evaluation


def _model() -> nn.Sequential:
    model = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Sequential(nn.BatchNorm3d(2), nn.Conv3d(2, 2, 3)))
    model.train()
    model[1][0].eval()
    return model


def _state(model: nn.Module) -> list[object]:
    return [m.training for m in model.modules()] + [p.data_ptr() for p in model.parameters()]


def test_modes_and_layout_are_put_back() -> None:
    model = _model()
    before = _state(model)
    with evaluation(model, None):
        assert not any(module.training for module in model.modules())
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert _state(model) == before


def test_the_last_of_two_threads_puts_them_back() -> None:
    model = _model()
    before = _state(model)
    second_runs, first_is_done = threading.Event(), threading.Event()
    seen: list[list[bool]] = []

    def second() -> None:
        with evaluation(model[1], None):  # a part of it
            second_runs.set()
            assert first_is_done.wait(10)
            seen.append([module.training for module in model[1].modules()])

    thread = threading.Thread(target=second)
    with evaluation(model, None):
        thread.start()
        assert second_runs.wait(10)
    first_is_done.set()
    thread.join(10)
    assert seen == [[False, False, False]]
    assert _state(model) == before


def test_weights_that_two_modules_share_are_put_back() -> None:
    model = nn.Sequential(nn.Conv3d(2, 2, 3), nn.Conv3d(2, 2, 3))
    model[1].weight = model[0].weight
    before = _state(model)
    with evaluation(model, None):
        pass
    assert _state(model) == before


def test_a_device_that_cannot_be_used_changes_nothing() -> None:
    model = _model()
    before = _state(model)
    with pytest.raises(Exception, match="cannot be used"), evaluation(model, "cuda:77"):
        pass
    assert _state(model) == before


def test_weights_that_are_loaded_while_another_thread_runs_stay() -> None:
    model, other = _model(), _model()
    runs, is_loaded = threading.Event(), threading.Event()

    def run() -> None:
        with evaluation(model, None):
            runs.set()
            assert is_loaded.wait(10)

    thread = threading.Thread(target=run)
    thread.start()
    assert runs.wait(10)
    model.load_state_dict(other.state_dict())
    is_loaded.set()
    thread.join(10)
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])
