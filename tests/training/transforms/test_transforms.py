"""The batched transformations against their definitions (`training.transforms.reference`)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sg_hub.errors import InvalidInputError
from tests.training.transforms.random_cubes import cubes, seeded
from training import transforms as T
from training.transforms import reference

SHAPES = [(3, 1, 32, 32, 16), (2, 2, 20, 16, 8), (2, 3, 64, 48)]
SINGLE = {
    "elastic": T.elastic,
    "nonlinear": T.nonlinear,
    "local_shuffle": T.local_shuffle,
    "in_paint": T.in_paint,
    "out_paint": T.out_paint,
}
EVERY = {
    **SINGLE,
    "semantic_genesis": lambda b, g: T.semantic_genesis(b, g)[0],
    "models_genesis": lambda b, g: T.models_genesis(b, g)[0],
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_contract(name: str, shape: tuple[int, ...]) -> None:
    """Same shape and dtype, in range, the input untouched, one result per seed, different ones otherwise."""
    batch = cubes(*shape)
    before = batch.clone()
    first = EVERY[name](batch, seeded(1))
    assert first.shape == batch.shape
    assert first.dtype == batch.dtype
    assert first.is_contiguous()
    assert first.min() >= 0
    assert first.max() <= 1
    assert first.data_ptr() != batch.data_ptr()
    assert torch.equal(batch, before)
    assert torch.equal(first, EVERY[name](batch, seeded(1)))
    assert not torch.equal(first, EVERY[name](batch, seeded(2)))
    assert not torch.equal(first, batch)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_agree_with_float32(name: str, dtype: torch.dtype) -> None:
    batch = cubes(4, 1, 16, 16, 8).to(dtype)
    result = EVERY[name](batch, seeded(3))
    assert result.dtype == dtype
    expected = EVERY[name](batch.float(), seeded(3))
    assert (result.float() - expected).abs().max() <= 4 * torch.finfo(torch.bfloat16).eps
    assert result.max() <= 1


@pytest.mark.parametrize("name", EVERY)
def test_memory_layout_does_not_matter(name: str) -> None:
    batch = cubes(3, 2, 16, 16, 8)
    strided = batch.contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(EVERY[name](strided, seeded(3)), EVERY[name](batch, seeded(3)))


@pytest.mark.parametrize("name", SINGLE)
def test_each_cube_gets_its_own_draws(name: str) -> None:
    one = cubes(1, 1, 32, 32, 16)
    result = SINGLE[name](one.expand(8, -1, -1, -1, -1), seeded(4))
    for i in range(8):
        for k in range(i):
            assert not torch.equal(result[i], result[k])


@pytest.mark.parametrize("name", SINGLE)
def test_a_cube_does_not_depend_on_its_neighbours(name: str) -> None:
    batch = cubes(3, 1, 32, 32, 16)
    other = batch.clone()
    other[0] = 1 - other[0]
    a, b = SINGLE[name](batch, seeded(5)), SINGLE[name](other, seeded(5))
    assert torch.equal(a[1:], b[1:])


# Non-linear intensity


@pytest.mark.parametrize("is_reversed", [False, True])
def test_nonlinear_table_follows_the_curve(is_reversed: bool) -> None:
    from training.transforms.intensity import KNOTS, curve_table

    control = cubes(24, 2, 2)
    table = curve_table(control, torch.full((24, 1), is_reversed), KNOTS).numpy()
    errors = []
    for inner, values in zip(control.double().numpy(), table, strict=True):
        knots = np.linspace(0, 1, KNOTS + 1)
        low, high = reference.bezier_bounds(knots, inner, is_reversed, slack=1 / KNOTS)
        assert (values >= low - 1e-5).all()
        assert (values <= high + 1e-5).all()
        errors.append(np.abs(values - np.interp(knots, *reference.bezier(inner, is_reversed))))
    assert np.mean(errors) < 1e-5


def test_nonlinear_maps_by_one_monotone_curve_per_cube() -> None:
    ramp = torch.linspace(0, 1, 32 * 32 * 16).view(1, 1, 32, 32, 16).expand(400, -1, -1, -1, -1)
    mapped = T.nonlinear(ramp, seeded()).view(400, -1)
    step = mapped.diff(dim=1)
    rising, falling = (step >= -1e-6).all(1), (step <= 1e-6).all(1)
    assert (rising ^ falling).all()
    assert 150 < int(falling.sum()) < 250  # half of them, four standard deviations
    assert torch.allclose(mapped[rising][:, [0, -1]], torch.tensor([0.0, 1.0]), atol=1e-6)
    assert torch.allclose(mapped[falling][:, [0, -1]], torch.tensor([1.0, 0.0]), atol=1e-6)
    always = T.nonlinear(ramp[:20], seeded(), reverse=0.0)
    assert (always.view(20, -1).diff(dim=1) >= -1e-6).all()


def test_nonlinear_lookup_is_linear_between_knots() -> None:
    batch = cubes(5, 1, 16, 16, 8)
    coarse, fine = (T.nonlinear(batch, seeded(2), knots=k) for k in (1024, 16384))
    assert (coarse - fine).abs().mean() < 1e-4
    assert (coarse - fine).abs().quantile(0.99) < 1e-3


# Local shuffling


@pytest.mark.parametrize("shape", [(40, 30, 20), (60, 80)], ids=str)
def test_one_window_is_permuted_and_nothing_else(shape: tuple[int, ...]) -> None:
    n = 200
    batch = torch.stack([torch.randperm(math.prod(shape), generator=seeded(i)) for i in range(n)])
    batch = (batch / math.prod(shape)).view(n, 1, *shape)
    result = T.local_shuffle(batch, seeded(), windows=1)
    assert torch.equal(result.view(n, -1).sort(1).values, batch.view(n, -1).sort(1).values)
    extents = []
    for old, new in zip(batch[:, 0], result[:, 0], strict=True):
        changed = (old != new).nonzero()
        if len(changed):
            extents.append(changed.max(0).values - changed.min(0).values + 1)
    extent = torch.stack(extents)
    limit = torch.tensor(shape) // 10
    assert (extent <= limit).all()
    assert (extent.max(0).values == limit).all()


def test_shuffling_is_a_uniform_permutation() -> None:
    """A side of 20 to 29 gives windows of 1 or 2 voxels: a window of 2 x 2 moves each voxel equally often."""
    pixels = torch.arange(400).view(1, 1, 20, 20) / 400
    result = T.local_shuffle(pixels.expand(60000, -1, -1, -1), seeded(), windows=1)
    changed = (result != pixels).view(60000, -1)
    count = changed.sum(1)
    # Windows of 1, 2, 2 and 4 voxels, equally likely. Derangements: of two 1/2; of four 9/24.
    share = [(count == k).float().mean().item() for k in range(5)]
    expected = [1 / 4 + 2 / 4 / 2 + 1 / 4 / 24, 0, 2 / 4 / 2 + 6 / 24 / 4, 8 / 24 / 4, 9 / 24 / 4]
    assert share == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("shape", [(32, 32, 16), (48, 48)], ids=str)
def test_many_windows(shape: tuple[int, ...]) -> None:
    batch = torch.arange(math.prod(shape)).view(1, 1, *shape) / math.prod(shape)
    batch = torch.cat([batch, batch, 1 - batch]).repeat(1, 2, *[1] * len(shape))
    result = T.local_shuffle(batch, seeded(), windows=8000)
    assert torch.equal(result[:, 0], result[:, 1])  # the channels move together
    source = (result[0, 0] * math.prod(shape)).round().long()  # read from the original, a window away at most
    was = torch.stack(torch.unravel_index(source.view(-1), shape))
    now = torch.stack(torch.unravel_index(torch.arange(math.prod(shape)), shape))
    away = (was - now).abs().amax(1)
    assert (away <= torch.tensor([s // 10 - 1 for s in shape])).all()
    assert (source.view(-1) != torch.arange(math.prod(shape))).float().mean() > 0.4
    assert torch.equal(T.local_shuffle(batch, seeded(), windows=0), batch)


# Painting


def changed_box(old: torch.Tensor, new: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Corner and size of what differs, and the share of its bounding box that does."""
    changed = (old != new).nonzero()
    corner = changed.min(0).values
    size = changed.max(0).values - corner + 1
    return corner, size, len(changed) / int(size.prod())


@pytest.mark.parametrize("shape", [(64, 64, 32), (32, 32, 16), (16, 16, 8), (224, 224)], ids=str)
def test_in_paint_fills_one_box(shape: tuple[int, ...]) -> None:
    n = 100 if len(shape) == 3 else 30
    batch = torch.full((n, 1, *shape), 0.5)
    result = T.in_paint(batch, seeded())
    sides = torch.tensor(shape)
    sizes = []
    for old, new in zip(batch[:, 0], result[:, 0], strict=True):
        corner, size, filled = changed_box(old, new)
        assert filled > 0.99
        assert (corner >= 3).all()
        assert (corner + size <= sides - 3).all()
        sizes.append(size)
    sizes = torch.stack(sizes)
    assert (sizes >= sides // 6).all()
    assert (sizes <= sides // 3).all()
    if n == 100 and shape[0] <= 32:
        assert (sizes.min(0).values == sides // 6).all()
        assert (sizes.max(0).values == sides // 3).all()
    noise = result[result != 0.5]
    assert noise.mean() == pytest.approx(0.5, abs=0.02)
    assert noise.std() == pytest.approx(math.sqrt(1 / 12), abs=0.01)
    assert noise.min() < 0.01
    assert noise.max() > 0.99


@pytest.mark.parametrize("shape", [(64, 64, 32), (32, 32, 16), (16, 16, 8), (224, 224)], ids=str)
def test_out_paint_keeps_one_box(shape: tuple[int, ...]) -> None:
    n = 60 if len(shape) == 3 else 20
    batch = torch.full((n, 1, *shape), 0.5)
    result = T.out_paint(batch, seeded())
    sides = torch.tensor(shape)
    for new in result[:, 0]:
        corner, size, filled = changed_box(new, torch.where(new == 0.5, 2.0, new))
        assert filled == pytest.approx(1, abs=0.001) or filled > 0.99
        assert (size >= sides - 4 * sides // 7).all()
        assert (size <= sides - 3 * sides // 7).all()
        margin = torch.minimum((sides - size) // 2, torch.tensor(3))
        assert (corner >= margin).all()
        assert (corner + size <= sides - margin).all()
    noise = result[result != 0.5]
    assert noise.mean() == pytest.approx(0.5, abs=0.01)
    assert noise.std() == pytest.approx(math.sqrt(1 / 12), abs=0.01)


def test_boxes_continue_with_their_probability() -> None:
    batch = torch.full((400, 1, 32, 32, 16), 0.5)
    none = (T.in_paint(batch, seeded(), boxes=5, continuing=0.6) == 0.5).flatten(1).all(1)
    assert float(none.float().mean()) == pytest.approx(0.4, abs=0.1)
    kept = (T.out_paint(batch, seeded(), boxes=5, continuing=0.0) == 0.5).flatten(1).float().mean(1)
    assert (kept > 0.05).all()  # the first box is always there
    one, five = (T.out_paint(batch, seeded(), boxes=b, continuing=1.0) == 0.5 for b in (1, 5))
    assert five.float().mean() > 1.8 * one.float().mean()


# Compositions


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
    from training.transforms import compose

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


# Bad input

GOOD = torch.full((2, 1, 16, 16, 8), 0.5)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (GOOD[0, 0], r"shape \(16, 16, 8\)"),
        (GOOD[None], r"\(1, 2, 1, 16, 16, 8\)"),
        (GOOD[:0], "nothing empty"),
        ((GOOD * 10).int(), "torch.int32"),
        (GOOD * 2000 - 2000, "-1000 to -1000"),
        (GOOD * torch.nan, "finite"),
        (GOOD / 0, "finite"),
        (GOOD.numpy(), "ndarray"),
    ],
    ids=["3 axes", "6 axes", "empty", "integers", "HU", "nan", "inf", "numpy"],
)
def test_unusable_batches_are_refused(name: str, batch: torch.Tensor, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        EVERY[name](batch, seeded())


@pytest.mark.parametrize("name", EVERY)
def test_the_generator_is_checked(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"torch\.Generator"):
        EVERY[name](GOOD, 0)
    with pytest.raises(InvalidInputError, match="meta"):
        EVERY[name](GOOD.to("meta"), seeded())


@pytest.mark.parametrize("name", ["in_paint", "out_paint", "semantic_genesis", "models_genesis"])
def test_a_cube_too_small_for_a_box_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="16 x 16 x 4 voxels is too small"):
        EVERY[name](GOOD[..., :4], seeded())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("elastic", {"alpha": -1.0}, "alpha"),
        ("elastic", {"sigma": 0.0}, "sigma"),
        ("nonlinear", {"reverse": 1.5}, "reverse"),
        ("nonlinear", {"knots": 1}, "knots"),
        ("local_shuffle", {"windows": -1}, "windows"),
        ("in_paint", {"boxes": 0}, "boxes"),
        ("out_paint", {"continuing": 2.0}, "continuing"),
        ("semantic_genesis", {"choices": ("blur",)}, "blur"),
        ("semantic_genesis", {"alpha": math.nan}, "alpha"),
    ],
)
def test_unusable_options_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        getattr(T, name)(GOOD, seeded(), **options)


def test_values_a_little_outside_are_accepted() -> None:
    batch = GOOD.clone()
    batch[0, 0, 0, 0, 0], batch[0, 0, 1, 0, 0] = -0.01, 1.01
    assert T.nonlinear(batch, seeded()).min() >= 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_on_a_gpu(name: str, shape: tuple[int, ...]) -> None:
    batch = cubes(*shape).cuda()
    results = [EVERY[name](batch, torch.Generator("cuda").manual_seed(0)) for _ in range(2)]
    assert torch.equal(*results)
    assert results[0].device == batch.device
    assert results[0].min() >= 0
    assert results[0].max() <= 1
    with pytest.raises(InvalidInputError, match="cpu"):
        EVERY[name](batch, seeded())
