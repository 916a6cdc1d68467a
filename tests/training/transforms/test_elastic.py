"""The elastic deformation against its definition: the displacement field's statistics, and the resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.training.transforms.random_cubes import cubes, seeded
from training import transforms as T
from training.transforms import reference
from training.transforms.elastic import smooth_factor


def displacements(n: int, shape: tuple[int, ...], sigma: float, seed: int = 0) -> np.ndarray:
    """In-plane displacement in voxels, (n, 2, spatial...), for alpha 1: read off deformed coordinates.

    Linear interpolation moves a ramp exactly, but for the outermost half voxel: there it is mirrored.
    """
    places = torch.meshgrid(*(torch.arange(s, dtype=torch.float64) for s in shape), indexing="ij")
    sides = torch.tensor(shape[:2], dtype=torch.float32).view(2, *[1] * len(shape))
    ramp = (torch.stack(places[:2]) / sides).float()
    small = 0.5  # keeps the displacements far below a voxel
    moved = T.elastic(ramp.expand(n, *ramp.shape), seeded(seed), alpha=small, sigma=sigma)
    return ((moved - ramp) * sides / small).numpy()


def smoothing_matrix(size: int, sigma: float) -> np.ndarray:
    """The filter along one axis as a matrix: column k is what it makes of a single one at voxel k."""
    return ndimage.gaussian_filter1d(np.eye(size), sigma, axis=0, mode="constant", cval=0)


@pytest.mark.parametrize(("shape", "sigma"), [((32, 24, 12), 3.0), ((48, 40), 4.0)], ids=str)
def test_elastic_field_has_the_definitions_covariance(shape: tuple[int, ...], sigma: float) -> None:
    n = 1200
    field = displacements(n, shape, sigma)
    kernels = [smoothing_matrix(s, sigma) for s in shape]
    per_axis = [k @ k.T for k in kernels]

    def covariance(a: tuple[int, ...], b: tuple[int, ...]) -> float:
        return math.prod(c[i, k] for c, i, k in zip(per_axis, a, b, strict=True)) / 3

    deep = tuple(s // 2 for s in shape)
    near = tuple(1 for _ in shape)
    corner = (1, 1, *[0] * (len(shape) - 2))
    mixed = (1, *deep[1:])
    for place in (deep, near, corner, mixed):
        values = field[(slice(None), slice(None), *place)]
        std = math.sqrt(covariance(place, place))
        assert values.std() == pytest.approx(std, rel=0.06)  # 2400 draws: a standard error of 1.4 %
        assert abs(values.mean()) < 0.1 * std
        for axis in range(len(shape)):
            for lag in (2, 5):
                other = tuple(p + lag * (axis == k) for k, p in enumerate(place))
                expected = covariance(place, other) / math.sqrt(covariance(place, place) * covariance(other, other))
                there = field[(slice(None), slice(None), *other)]
                found = np.corrcoef(values.ravel(), there.ravel())[0, 1]
                assert found == pytest.approx(expected, abs=0.05)
    a, b = field[(slice(None), 0, *deep)], field[(slice(None), 1, *deep)]
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.1  # the two components are independent
    kurtosis = (a**4).mean() / (a**2).mean() ** 2
    assert kurtosis == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize("size", [16, 32, 64, 224])
def test_thin_factor_reproduces_the_filter_at_the_published_sigma(size: int) -> None:
    kernel = smoothing_matrix(size, 8.0)
    exact = kernel @ kernel.T
    factor = smooth_factor(size, 8.0, torch.device("cpu")).double().numpy()
    thin = factor @ factor.T
    assert np.diag(thin) == pytest.approx(np.diag(exact), rel=1e-5)
    assert abs(thin - exact).max() < 0.01 * exact.max()
    assert factor.shape[1] <= max(3, size // 8)


def test_the_separable_covariance_is_that_of_the_filter_of_scipy() -> None:
    """Standard deviation of the literal field, from scipy draws alone, in the middle and at a corner."""
    shape, sigma = (16, 16, 8), 3.0
    rng = np.random.default_rng(0)
    draws = np.stack([reference.displacement(shape, rng, 1.0, sigma) for _ in range(1500)])
    field = displacements(800, shape, sigma)
    for place in ((8, 8, 4), (1, 1, 0), (1, 8, 4)):
        found = field[(slice(None), slice(None), *place)].std()
        assert found == pytest.approx(draws[(slice(None), *place)].std(), rel=0.09)


@pytest.mark.parametrize("shape", [(20, 24, 6), (40, 32)], ids=str)
def test_elastic_resamples_like_scipy(shape: tuple[int, ...]) -> None:
    """The same displacements applied by map_coordinates, with the border mirrored, give the same cube."""
    batch = cubes(1, 1, *shape)
    alpha, sigma = (400.0, 4.0) if len(shape) == 3 else (60.0, 4.0)
    inner = displacements(1, shape, sigma, seed=9)[0].astype(float) * alpha
    assert abs(inner).max() > 3
    places = np.meshgrid(*(np.arange(s, dtype=float) for s in shape), indexing="ij")
    expected = reference.resample(batch[0, 0].numpy(), [places[0] + inner[0], places[1] + inner[1], *places[2:]])
    result = T.elastic(batch, seeded(9), alpha=alpha, sigma=sigma)[0, 0].numpy()
    trusted = (slice(1, -1), slice(1, -1))  # the ramps tell no displacement in the outermost voxels
    assert np.abs(result - expected)[trusted].max() < 0.01


def test_elastic_mirrors_the_border_and_never_moves_along_z() -> None:
    layers = torch.linspace(0, 1, 8).expand(2, 1, 16, 16, 8)
    assert T.elastic(layers, seeded()) == pytest.approx(layers.numpy(), abs=1e-5)
    plain = torch.full((2, 1, 32, 32), 0.75)
    assert T.elastic(plain, seeded()).numpy() == pytest.approx(0.75, abs=1e-5)  # zeros would leak in


def test_elastic_without_strength_changes_nothing_and_channels_move_together() -> None:
    batch = cubes(2, 1, 32, 32, 16)
    assert torch.allclose(T.elastic(batch, seeded(), alpha=0.0), batch, atol=1e-4)
    both = T.elastic(torch.cat([batch, batch], 1), seeded())
    assert torch.equal(both[:, 0], both[:, 1])
