"""What all transformations have in common: their contract, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from sg_hub.errors import InvalidInputError
from tests.training.transforms.random_cubes import cubes, seeded
from training import transforms as T

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
        ("local_shuffle", {"windows": True}, "windows"),
        ("in_paint", {"boxes": 0}, "boxes"),
        ("out_paint", {"continuing": 2.0}, "continuing"),
        ("semantic_genesis", {"choices": ("blur",)}, "blur"),
        ("semantic_genesis", {"alpha": math.nan}, "alpha"),
    ],
)
def test_unusable_options_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        getattr(T, name)(GOOD, seeded(), **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nonlinear", {"reverse": np.float32(0.5), "knots": np.int64(64)}),
        ("local_shuffle", {"windows": np.int64(3)}),
        ("in_paint", {"boxes": np.int64(2), "continuing": np.float32(0.5)}),
    ],
)
def test_numbers_of_numpy_are_numbers(name: str, options: dict[str, Any]) -> None:
    plain = {key: value.item() for key, value in options.items()}
    assert torch.equal(getattr(T, name)(GOOD, seeded(), **options), getattr(T, name)(GOOD, seeded(), **plain))


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", EVERY)
def test_a_gpu_is_not_waited_for(name: str) -> None:
    batch, generator = cubes(3, 1, 32, 32, 16).cuda(), torch.Generator("cuda").manual_seed(0)
    first = EVERY[name](batch, generator)  # the second call finds its tables on the GPU
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = EVERY[name](batch, generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not torch.equal(first, second), "each call draws its own"
