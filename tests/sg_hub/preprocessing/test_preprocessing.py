"""Preprocessing: its settings, the way to the network's grid and back, and inputs that no network can use."""

import dataclasses
import json
import logging

import numpy as np
import pytest
import torch

from sg_hub.errors import InvalidInputError
from sg_hub.io.scan import Scan
from sg_hub.preprocessing.scan_preprocessing import Preprocessing, resampled_size, restore_grid


def make_scan(size=(6, 8, 10), spacing=(1.0, 1.0, 2.0), low=-1500.0, high=1500.0) -> Scan:
    values = np.linspace(low, high, int(np.prod(size)), dtype=np.float32).reshape(1, *size)
    return Scan(values, spacing=spacing, source="scan.nii.gz")


def ramp(size, spacing) -> Scan:
    """HU that grow linearly with the distance in mm from the corner of the scan."""
    places = [(np.arange(n) + 0.5) * s for n, s in zip(size, spacing, strict=True)]
    x, y, z = np.meshgrid(*places, indexing="ij")
    return Scan((x + 2 * y - 3 * z).astype(np.float32)[None], spacing=spacing)


# Settings


def test_settings_survive_json():
    settings = Preprocessing("MR", "percentile", 0.5, 99.5, (1.0, 1.0, 2.0), "LPS", (32, 32, 16))
    assert Preprocessing.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert Preprocessing.from_dict(Preprocessing().to_dict()) == Preprocessing()
    assert list(settings.to_dict()["spacing"]) == [1.0, 1.0, 2.0]


def test_unknown_and_missing_keys_are_named():
    settings = Preprocessing().to_dict()
    with pytest.raises(InvalidInputError, match=r"unknown keys gamma .*newer version\? Upgrade with: pip install"):
        Preprocessing.from_dict(settings | {"gamma": 2})
    settings.pop("low")
    with pytest.raises(InvalidInputError, match=r"lacks low: add them, or save the model again"):
        Preprocessing.from_dict(settings)
    with pytest.raises(InvalidInputError, match=r"expected its settings by name"):
        Preprocessing.from_dict([1, 2])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intensity": "zscore"}, "expected one of window, percentile"),
        ({"low": 5.0, "high": 5.0}, "expected low below high"),
        ({"low": float("nan")}, "low: nan is not a finite number"),
        ({"intensity": "percentile", "low": -1000.0, "high": 99.0}, "expected numbers from 0 to 100"),
        ({"orientation": "RAS"}, "expected 'LPS'"),
        ({"spacing": (1.0, -1.0, 1.0)}, "three positive numbers"),
        ({"spacing": (1.0, 1.0)}, r"expected three numbers \(x, y, z\)"),
        ({"input_size": (64, 64, 0)}, "three whole numbers of voxels"),
        ({"input_size": 64}, r"expected three numbers \(x, y, z\)"),
    ],
)
def test_impossible_settings(change, message):
    with pytest.raises(InvalidInputError, match=message):
        Preprocessing(**change)


# Intensities


def test_the_window_becomes_0_to_1():
    scan = make_scan()
    x = Preprocessing(low=-1000, high=1000).apply(scan)
    assert x.shape == (1, 1, 6, 8, 10)
    assert x.dtype == torch.float32
    expected = np.clip((scan.array + 1000) / 2000, 0, 1)
    assert np.allclose(x[0].numpy(), expected, atol=1e-6)
    assert scan.array.min() == -1500  # the scan is as before


def test_percentiles_are_of_each_channel():
    scan = make_scan(size=(20, 20, 20), low=0, high=8000)
    both = dataclasses.replace(scan, array=np.concatenate([scan.array, 3 * scan.array + 7]))
    x = Preprocessing("MR", "percentile", 10, 90).apply(both)
    assert torch.allclose(x[0, 0], x[0, 1], atol=1e-5)
    assert float((x[0, 0] == 0).float().mean()) == pytest.approx(0.1, abs=0.002)
    assert float((x[0, 0] == 1).float().mean()) == pytest.approx(0.1, abs=0.002)


def test_percentiles_of_a_big_scan_are_of_a_sample(monkeypatch):
    monkeypatch.setattr("sg_hub.preprocessing.scan_preprocessing._PERCENTILE_SAMPLES", 1000)
    settings = Preprocessing("MR", "percentile", 10, 90)
    low, high = settings.limits(make_scan(size=(20, 20, 20), low=0, high=8000))
    assert (float(low), float(high)) == pytest.approx((800, 7200), rel=0.02)


def test_a_scan_outside_of_the_window_is_refused():
    with pytest.raises(InvalidInputError, match=r"2000 to 3000.*one side of the window.*in HU\?.*percentile"):
        Preprocessing().apply(make_scan(low=2000, high=3000))
    spike = make_scan(low=0, high=0)
    spike.array[0, 0, 0, 0] = 1
    with pytest.raises(InvalidInputError, match=r"percentiles 5 and 95 are the same value \(0\).*further apart"):
        Preprocessing("MR", "percentile", 5, 95).apply(spike)


def test_a_scan_without_air_is_doubted(caplog):
    with caplog.at_level(logging.WARNING):
        Preprocessing().apply(make_scan())
        assert not caplog.records
        Preprocessing().apply(make_scan(low=0, high=900))
    assert "is it CT in HU?" in caplog.text


def test_only_a_scan_is_taken():
    with pytest.raises(InvalidInputError, match=r"takes a Scan, not a ndarray: sg_hub.load_scan"):
        Preprocessing().apply(np.zeros((4, 4, 4)))  # type: ignore[arg-type]


# Grids


def test_the_resampled_grid_covers_the_scan_edge_to_edge():
    assert resampled_size((100, 100, 50), (1.0, 1.0, 3.0), (4.0, 3.0, 1.5)) == (25, 33, 100)
    assert resampled_size((1, 2, 3), (0.1, 0.1, 0.1), (5.0, 5.0, 5.0)) == (1, 1, 1)
    # A linear ramp in mm shows where each voxel's centre has come to lie.
    size, spacing = (24, 18, 30), (1.0, 2.0, 1.5)
    scan = ramp(size, spacing)
    settings = Preprocessing(spacing=(2.0, 1.0, 4.5))
    assert settings.grid_size(scan) == (12, 36, 10)
    x = settings.apply(scan)[0, 0] * 2000 - 1000
    expected = ramp((12, 36, 10), (2.0, 1.0, 4.5)).array[0]
    inside = (slice(1, -1),) * 3
    assert np.allclose(x[inside].numpy(), expected[inside], atol=1e-3)


def test_restoring_the_grid_is_the_inverse():
    scan = ramp((24, 18, 30), (1.0, 2.0, 1.5))
    settings = Preprocessing(spacing=(1.7, 1.1, 3.9))
    back = restore_grid(settings.apply(scan), scan)
    assert back.shape == (1, 1, 24, 18, 30)
    inside = (slice(4, -4),) * 3
    assert np.allclose(back[0, 0].numpy()[inside] * 2000 - 1000, scan.array[0][inside], atol=1e-2)
    with pytest.raises(InvalidInputError, match=r"expected \(N, C, X, Y, Z\)"):
        restore_grid(back[0], scan)


def test_the_scans_own_spacing_changes_nothing():
    scan = make_scan()
    x = Preprocessing().apply(scan)
    assert torch.equal(x, Preprocessing(spacing=scan.spacing).apply(scan))
    assert torch.equal(restore_grid(x, scan), x)
