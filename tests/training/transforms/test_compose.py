"""How the transformations are combined."""

from __future__ import annotations

import math

import pytest
import torch

from tests.training.transforms.random_cubes import cubes, seeded
from training import transforms as T
from training.transforms import compose


def which(old: torch.Tensor, new: torch.Tensor) -> str:
    """Which of the four made `new` from `old`, a cube whose values are all different."""
    same = (old == new).float().mean()
    if torch.equal(old.flatten().sort().values, new.flatten().sort().values):
        return "local_shuffle"
    if 0.9 < same < 1:
        return "in_paint"
    if 0.03 < same < 0.3:
        return "out_paint"
    step = new.flatten()[old.flatten().argsort()].diff()
    return "nonlinear" if (step >= -1e-6).all() or (step <= 1e-6).all() else "something else"


def test_semantic_genesis_applies_exactly_one_of_the_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "deform", lambda batch, *_: batch.clone())  # so that the other is seen alone
    n, shape = 400, (32, 32, 16)
    batch = torch.randperm(math.prod(shape), generator=seeded()) / math.prod(shape)
    batch = batch.view(1, 1, *shape).expand(n, -1, -1, -1, -1)
    corrupted, target = T.semantic_genesis(batch, seeded())
    assert torch.equal(target, batch)
    found = [which(batch[i], corrupted[i]) for i in range(n)]
    assert set(found) == set(T.CHOICES)
    for name in T.CHOICES:
        assert 65 < found.count(name) < 135  # a quarter each, four standard deviations


def test_semantic_genesis_deforms_every_cube_and_keeps_the_target() -> None:
    batch = cubes(8, 1, 32, 32, 16)
    corrupted, target = T.semantic_genesis(batch, seeded(), choices=("local_shuffle",), windows=0)
    assert torch.equal(target, batch)
    assert target.data_ptr() != batch.data_ptr()
    assert torch.equal(corrupted, T.elastic(batch, seeded()))
    assert ((corrupted != batch).flatten(1).float().mean(1) > 0.9).all()
    short = T.semantic_genesis(batch, seeded(), choices=("in_paint", "out_paint"))[0]
    assert short.shape == batch.shape


def test_models_genesis_flips_the_target_and_corrupts() -> None:
    n, shape = 300, (16, 16, 8)
    batch = cubes(1, 1, *shape).expand(n, -1, -1, -1, -1)
    corrupted, target = T.models_genesis(batch, seeded())
    flips = [[d for d in range(3) if m >> d & 1] for m in range(8)]
    variants = [batch[0, 0].flip(d) if d else batch[0, 0] for d in flips]
    kinds = [next((m for m, v in enumerate(variants) if torch.equal(t, v)), -1) for t in target[:, 0]]
    assert min(kinds) == 0
    assert set(kinds) >= {0, 1, 2, 4}
    # Unflipped: no flip (0.6), or two along one axis (0.4 * 0.4 * 0.6 / 3).
    assert kinds.count(0) / n == pytest.approx(0.632, abs=0.12)
    untouched = (corrupted == target).flatten(1).float().mean(1)
    assert float((untouched == 1).float().mean()) < 0.1
    assert float((untouched < 0.9).float().mean()) > 0.85


def test_threads_do_not_change_what_is_drawn():
    batch = torch.rand(8, 1, 64, 64, 32, generator=seeded())
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(T.models_genesis(batch, seeded(3)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
