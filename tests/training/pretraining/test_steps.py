"""What a step of training may cost and how exact it is: precision on the CPU, and no wait for a device."""

import contextlib
from dataclasses import replace

import pytest
import torch

from tests.training.conftest import small_recipe
from training.methods.protocol import Batch
from training.methods.registry import method_of
from training.pretraining import loop
from training.pretraining.inputs import open_inputs
from training.run import precision
from training.run.processes.process_group import Process
from training.transforms import _common

ALONE = Process(0, 1, torch.device("cpu"))
METHODS = {
    "pre-training": (),
    "Models Genesis": ('method={ name = "restoration", transforms = "combined" }',),
    "autoencoder": ('method={ name = "autoencoder" }',),
}


def trainer(run, *overrides):
    recipe = small_recipe(run, *overrides)
    method = method_of(recipe)
    return loop.Trainer(recipe, method, open_inputs(recipe, method, ALONE), ALONE, run / "out", progress=False)


def gradients(run, numbers, side, method):
    """Of the second step, so that they come from no fresh network alone."""
    size = f"pretrain.size=[{side}, {side}, {side}]"
    found = trainer(run, *METHODS[method], size, f"pretrain.precision={numbers}", "model.width=4")
    data = found.inputs.data["train"]
    items = [data[index] for index in (0, 6, 12, 18)]
    batch = Batch(*(torch.utils.data.default_collate(list(part)) for part in zip(*items, strict=True)))
    for _ in range(2):
        found.step(found.network, found.plan.stages[-1], [batch])
    return torch.cat([p.grad.flatten() for p in found.network.parameters() if p.grad is not None])


@pytest.mark.parametrize("method", ["pre-training", "autoencoder"])
def test_bfloat16_can_be_trusted_on_small_maps(run, method):
    """Patches of 16 leave maps of 2, of which oneDNN's gradients in bfloat16 are garbage, another at every call."""
    expected, found, again = (gradients(run, p, 16, method) for p in ("float32", "bfloat16", "bfloat16"))
    assert torch.equal(found, again)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.skipif(not precision.has_bfloat16("cpu"), reason="this CPU has no bfloat16")
def test_bfloat16_is_used_where_it_can_be_trusted(run):
    expected, found, again = (gradients(run, p, 32, "pre-training") for p in ("float32", "bfloat16", "bfloat16"))
    assert torch.equal(found, again)
    assert not torch.equal(found, expected)
    assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.8


def test_without_instructions_for_bfloat16_it_is_float32_and_that_is_said_once(run, monkeypatch, capsys):
    """Where a CPU has none, a step in bfloat16 takes fifty times as long."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: False)
    precision._has_or_says.cache_clear()
    expected, found = (gradients(run, p, 32, "pre-training") for p in ("float32", "bfloat16"))
    precision._has_or_says.cache_clear()
    assert torch.equal(found, expected)
    assert capsys.readouterr().err.count("this CPU has no bfloat16: float32 is used instead") == 1


def test_bfloat16_is_what_the_cpu_says_it_has(monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    precision._has_or_says.cache_clear()
    with precision.bfloat16(torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
    with precision.bfloat16(torch.device("cpu"), wanted=False):
        assert not torch.is_autocast_enabled("cpu")
    precision._has_or_says.cache_clear()


@pytest.mark.parametrize("method", METHODS)
def test_a_step_waits_for_no_device(run, monkeypatch, method):
    """Tensors of the meta device have no values: whatever reads one, which on a GPU would be a wait, fails."""
    found = trainer(run, *METHODS[method])
    meta = torch.device("meta")
    found.network.to(meta)
    found.state.optimizer = torch.optim.Adam(found.network.parameters())
    found.me = replace(found.me, device=meta)
    monkeypatch.setattr(loop, "generator", lambda _, *place: torch.Generator().manual_seed(len(place)))
    monkeypatch.setattr(loop, "autocast", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(_common, "_same_device", lambda *_: True)  # there are no generators of the meta device
    batch = Batch(torch.rand(8, 1, 16, 16, 8, device=meta), torch.zeros(8, dtype=torch.int64, device=meta))
    for stage in found.plan.stages:
        losses = found.step(found.network, stage, [batch])
        found.state.add(losses)
        assert losses["loss"].device == meta
    with pytest.raises(RuntimeError, match="meta"):
        found.state.means(1)


def test_values_of_a_batch_are_looked_at_on_the_cpu_alone():
    hounsfield = torch.full((2, 1, 8, 8, 8), -1000.0)
    with pytest.raises(ValueError, match="-1000"):
        _common.check_batch(hounsfield, torch.Generator())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_common, "_same_device", lambda *_: True)
        _common.check_batch(hounsfield.to("meta"), torch.Generator())
