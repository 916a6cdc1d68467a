"""The non-linear intensities against their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.transforms.random_cubes import cubes, seeded
from training import transforms as T
from training.transforms import reference
from training.transforms.intensity import KNOTS, LEVELS, curve_table


def bezier_bounds(
    value: np.ndarray, control: np.ndarray, is_reversed: bool, slack: float
) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest that the curve takes within `slack` of each value."""
    x, y = reference.bezier(control, is_reversed)
    ends = np.stack([np.interp(value + sign * slack, x, y) for sign in (-1, 1)])
    return ends.min(0), ends.max(0)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_nonlinear_table_follows_the_curve(is_reversed: bool) -> None:
    control = cubes(24, 2, 2)
    table = curve_table(control, torch.full((24, 1), is_reversed), KNOTS).numpy()
    errors = []
    for inner, values in zip(control.double().numpy(), table, strict=True):
        knots = np.linspace(0, 1, KNOTS + 1)
        low, high = bezier_bounds(knots, inner, is_reversed, slack=1 / KNOTS)
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


def test_a_value_is_mapped_as_its_curve_does_within_half_a_level() -> None:
    batch = cubes(24, 1, 16, 16, 8)
    control = torch.rand(24, 2, 2, generator=seeded(2))  # as it is drawn there
    mapped = T.nonlinear(batch, seeded(2), reverse=0.0).double().numpy()
    table = curve_table(control, torch.zeros(24, 1, dtype=torch.bool), KNOTS).double().numpy()
    knots = np.linspace(0, 1, KNOTS + 1)
    for cube, result, values in zip(batch.double().numpy(), mapped, table, strict=True):
        low, high = (np.interp(cube + sign * 0.51 / LEVELS, knots, values) for sign in (-1, 1))
        assert (result >= low - 1e-6).all()
        assert (result <= high + 1e-6).all()
    coarse, fine = (T.nonlinear(batch, seeded(2), knots=k) for k in (1024, 8192))
    assert (coarse - fine).abs().mean() < 1e-4
    assert not torch.equal(coarse, fine)
