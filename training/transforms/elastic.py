"""Elastic deformation in plane (Simard et al. 2003), as Semantic Genesis uses it (paper, Sec. 2).

The definition: each displacement component is white noise, uniform in -1..1 per voxel, smoothed over all
spatial axes by a Gaussian of `sigma` voxels (cut off at four sigma, zeros outside the cube) and multiplied
by `alpha`. Filtering that noise is most of the work, and nearly all of it is thrown away: what is left has
only a few degrees of freedom per axis. So the field is drawn where it lives. The filter is separable; with
K its matrix along one axis, the smoothed noise has the covariance K K^T (times a third, the noise's
variance, and the product over the axes). A thin L with L L^T = K K^T (up to a stated tolerance, exactly on
the diagonal) turns a handful of normal numbers per axis into a field of the same covariance, near the border
too. The smoothed noise is a sum over thousands of voxels, so that it is normal to any practical accuracy.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sg_hub.errors import InvalidInputError

from ._common import check_batch, parts

TOLERANCE = 1e-3
"""Share of an axis's variance that the thin factor may leave out; scaling its rows puts it back."""


@torch.no_grad()
def elastic(batch: Tensor, generator: torch.Generator, *, alpha: float = 991.0, sigma: float = 8.0) -> Tensor:
    """Deform each cube by a smooth random displacement in plane: axes 0 and 1, none along z.

    Linear interpolation; beyond the border the cube is mirrored (d c b a | a b c d | d c b a). All channels
    of a cube move together.

    Args:
        batch: (N, C, H, W) or (N, C, X, Y, Z), floating, in 0..1.
        generator: on the batch's device.
        alpha: scale of the displacement. At the published 991 and 8 its standard deviation is 3.8 voxels
            inside a large 3D cube, and 20 in 2D, where noise is averaged over fewer voxels.
        sigma: standard deviation of the smoothing Gaussian, in voxels.

    Returns:
        A new tensor of the batch's shape and dtype.

    Raises:
        InvalidInputError: the batch, generator or options cannot be used.

    Source: the paper's published settings, alpha 991 and sigma 8.
    """
    check_batch(batch, generator)
    if not (math.isfinite(alpha) and alpha >= 0):
        raise InvalidInputError(f"alpha is at least 0, got {alpha}")
    if not (math.isfinite(sigma) and sigma > 0):
        raise InvalidInputError(f"sigma is more than 0 voxels, got {sigma}")
    return deform(batch, generator, float(alpha), float(sigma))


def deform(batch: Tensor, generator: torch.Generator, alpha: float, sigma: float) -> Tensor:
    """`elastic` on a batch that was checked."""
    cubes = batch if batch.ndim == 5 else batch[..., None]  # an image is one slice
    n, c, x, y, z = cubes.shape
    device = batch.device
    along_x, along_y, identity = _plane(x, y, sigma, alpha / math.sqrt(3), device)
    # An image is not smoothed along z, a cube is, even where it is one voxel deep.
    along_z = smooth_factor(z, sigma, device) if batch.ndim == 5 else torch.ones(1, 1, device=device)
    coarse = torch.randn(n, along_z.shape[1], along_x.shape[1] * along_y.shape[0], generator=generator, device=device)
    out = torch.empty(cubes.shape, dtype=batch.dtype, device=device)
    for part in parts(cubes):
        grid = _grid(coarse[part], along_x, along_y, along_z, identity)
        slices = cubes[part].permute(0, 4, 1, 2, 3).float()
        if device.type == "cpu":  # reads slices where they are, of one cube at a time
            for cube, where, result in zip(slices, grid.view(-1, z, x, y, 2), out[part], strict=True):
                moved = _sample(cube, where)
                result.view(-1, z).copy_(moved.view(z, -1).t())  # two axes, which torch transposes in blocks
        else:
            moved = _sample(slices.reshape(-1, c, x, y), grid)
            out[part].copy_(moved.view(-1, z, c, x, y).permute(0, 2, 3, 4, 1))
    return out.view(batch.shape)


def _grid(coarse: Tensor, along_x: Tensor, along_y: Tensor, along_z: Tensor, identity: Tensor) -> Tensor:
    """Coarse noise (n, rz, rx * 2 ry) to sampling positions (n z, x, y, 2) as grid_sample takes them."""
    n, z = len(coarse), len(along_z)
    x, rank = along_x.shape
    fine = torch.matmul(along_z, coarse).view(n * z * rank, -1)
    fine = torch.mm(fine, along_y).view(n * z, rank, -1)
    grid = torch.baddbmm(identity.expand(n * z, -1, -1), along_x.expand(n * z, -1, -1), fine)
    return grid.view(n * z, x, -1, 2)


def _sample(slices: Tensor, grid: Tensor) -> Tensor:
    """(n, C, x, y) at (n, x, y, 2)."""
    return F.grid_sample(slices, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


@lru_cache(maxsize=64)
def smooth_factor(size: int, sigma: float, device: torch.device) -> Tensor:
    """L (size, rank): L times unit white noise is unit white noise smoothed along one axis (see above)."""
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    offset = np.subtract.outer(np.arange(size), np.arange(size))
    kernel = np.where(abs(offset) <= radius, weights[np.clip(offset, -radius, radius) + radius], 0.0)
    covariance = kernel @ kernel.T
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1].clip(min=0), vectors[:, ::-1]
    kept = np.cumsum(values) / values.sum()
    rank = min(int(np.searchsorted(kept, 1 - TOLERANCE)) + 1, size)
    factor = vectors[:, :rank] * np.sqrt(values[:rank])
    factor *= np.sqrt(np.diag(covariance) / (factor**2).sum(1))[:, None]
    return torch.from_numpy(np.ascontiguousarray(factor)).float().to(device)


@lru_cache(maxsize=64)
def _plane(x: int, y: int, sigma: float, scale: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The matrices of the in-plane axes for grid_sample, whose positions are (along y, along x) in -1..1.

    Returns:
        (x, rx); (2 ry, 2 y), which mixes the two components' noise into interleaved positions and carries the
        units; and (1, x, 2 y), the positions that move nothing.
    """
    along_x, along_y = smooth_factor(x, sigma, device), smooth_factor(y, sigma, device)
    rank = along_y.shape[1]
    mixed = torch.zeros(2, rank, y, 2, device=device)
    mixed[0, :, :, 1] = along_y.t() * (scale * 2 / x)  # the component along axis 0
    mixed[1, :, :, 0] = along_y.t() * (scale * 2 / y)  # along axis 1
    identity = torch.empty(1, x, y, 2, device=device)
    identity[..., 0] = (2 * torch.arange(y, device=device) + 1) / y - 1
    identity[..., 1] = ((2 * torch.arange(x, device=device) + 1) / x - 1)[:, None]
    return along_x, mixed.view(2 * rank, 2 * y), identity.view(1, x, 2 * y)
