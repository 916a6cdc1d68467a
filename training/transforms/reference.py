"""The transformations by their definitions, one cube at a time in numpy and scipy: slow, and easy to check.

The tests and the benchmark hold the batched ones against these. Cubes are (X, Y, Z) or (H, W), in 0..1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Cube = NDArray[np.float32]


def displacement(
    shape: tuple[int, ...], rng: np.random.Generator, alpha: float = 991.0, sigma: float = 8.0
) -> NDArray[np.float64]:
    """One displacement component, in voxels: smoothed uniform noise."""
    noise = rng.uniform(-1, 1, shape)
    return ndimage.gaussian_filter(noise, sigma, mode="constant", cval=0) * alpha


def elastic(cube: Cube, rng: np.random.Generator, alpha: float = 991.0, sigma: float = 8.0) -> Cube:
    moves = [displacement(cube.shape, rng, alpha, sigma) for _ in range(2)]
    places = np.meshgrid(*(np.arange(s, dtype=float) for s in cube.shape), indexing="ij")
    return resample(cube, [places[0] + moves[0], places[1] + moves[1], *places[2:]])


def resample(cube: Cube, places: list[NDArray[np.float64]]) -> Cube:
    return ndimage.map_coordinates(cube, places, order=1, mode="reflect").astype(np.float32)


def bezier(
    control: NDArray[np.float64], is_reversed: bool, samples: int = 100_000
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x (rising) and y of the curve from (0, 0) to (1, 1) with the inner control points (2, 2)."""
    t = np.linspace(0, 1, samples)[:, None]
    points = 3 * (1 - t) ** 2 * t * control[0] + 3 * (1 - t) * t**2 * control[1] + t**3
    x, y = np.sort(points[:, 0]), np.sort(points[:, 1])
    return x, (y[::-1] if is_reversed else y)


def nonlinear(cube: Cube, rng: np.random.Generator) -> Cube:
    x, y = bezier(rng.random((2, 2)), rng.random() < 0.5)
    return np.interp(cube, x, y).astype(np.float32)


def local_shuffle(cube: Cube, rng: np.random.Generator, windows: int = 5) -> Cube:
    out = cube.copy()
    for _ in range(windows):
        size = [rng.integers(1, max(1, s // 10) + 1) for s in cube.shape]
        window = tuple(slice(c, c + e) for c, e in _corners(cube, size, rng, 0))
        out[window] = rng.permutation(cube[window].ravel()).reshape(size)
    return out


def in_paint(cube: Cube, rng: np.random.Generator) -> Cube:
    out = cube.copy()
    size = [rng.integers(s // 6, s // 3 + 1) for s in cube.shape]
    box = tuple(slice(c, c + e) for c, e in _corners(cube, size, rng, 3))
    out[box] = rng.random(size)
    return out


def out_paint(cube: Cube, rng: np.random.Generator) -> Cube:
    out = rng.random(cube.shape).astype(np.float32)
    size = [s - rng.integers(3 * s // 7, 4 * s // 7 + 1) for s in cube.shape]
    box = tuple(slice(c, c + e) for c, e in _corners(cube, size, rng, 3))
    out[box] = cube[box]
    return out


def semantic_genesis(cube: Cube, rng: np.random.Generator) -> tuple[Cube, Cube]:
    other = (local_shuffle, nonlinear, in_paint, out_paint)[rng.integers(4)]
    return other(elastic(cube, rng), rng), cube


def _corners(cube: Cube, size: list[int], rng: np.random.Generator, margin: int) -> list[tuple[int, int]]:
    return [
        (int(rng.integers(margin, side - extent - margin + 1)), extent)
        for side, extent in zip(cube.shape, size, strict=True)
    ]
