"""Preprocessing: its settings, the way to the network's grid and back, and inputs that no network can use."""

import dataclasses
import json
import logging

import numpy as np
import pytest
import torch

from sg_hub.errors import InvalidInputError
from sg_hub.io.image import Image, load_image
from sg_hub.io.scan import Scan
from sg_hub.preprocessing.preprocessing import ImagePreprocessing, Preprocessing
from sg_hub.preprocessing.steps import resampled_size
from tests.support.folders import DEMO_SAMPLES

XRAY = sorted((DEMO_SAMPLES / "chestxray14" / "images").glob("*.png"))[0]


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
        ({"intensity": "histogram"}, "expected one of window, percentile, zscore"),
        ({"intensity": "zscore"}, "deviations from the mean, such as -5 and 5"),
        ({"intensity": "zscore", "low": 1.0, "high": 5.0}, "deviations from the mean"),
        ({"low": 5.0, "high": 5.0}, "expected low below high"),
        ({"low": float("nan")}, "low: nan is not a finite number"),
        ({"intensity": "percentile", "low": -1000.0, "high": 99.0}, "expected numbers from 0 to 100"),
        ({"orientation": "RAS"}, "expected 'LPS'"),
        ({"spacing": (1.0, -1.0, 1.0)}, "three positive numbers"),
        ({"spacing": (1.0, 1.0)}, r"expected three positive numbers \(x, y, z\) in mm"),
        ({"input_size": (64, 64, 0)}, "three whole numbers of voxels"),
        ({"input_size": 64}, r"expected three whole numbers of voxels \(x, y, z\)"),
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


@pytest.mark.parametrize("axes", [1, (1, 3)])
def test_an_array_whose_axes_were_flipped_is_taken_as_it_is_seen(axes):
    scan = make_scan()
    flipped = Preprocessing().apply(dataclasses.replace(scan, array=np.flip(scan.array, axes)))
    assert torch.equal(flipped, torch.flip(Preprocessing().apply(scan), [axis + 1 for axis in np.ravel(axes)]))
    image = load_image(XRAY)
    settings = ImagePreprocessing(input_size=image.size)
    assert torch.equal(settings.apply(Image(np.flip(image.array, 2))), settings.apply(image).flip(3))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "settings", [Preprocessing(), Preprocessing("MR", "percentile", 0, 100), Preprocessing("MR", "zscore", -5, 5)]
)
def test_voxels_that_are_no_numbers_are_said_to_be_none(settings, value):
    scan = make_scan()
    scan.array[0, 1, 2, 3] = value
    with np.errstate(invalid="ignore"), pytest.raises(InvalidInputError, match=r"scan\.nii\.gz holds NaN or infinite"):
        settings.apply(scan)


def test_percentiles_are_of_all_slices_whatever_the_size():
    # A step of 3 through 3 slices would see one of them.
    array = np.empty((1, 2048, 2048, 3), np.float32)
    array[..., 0], array[..., 1], array[..., 2] = 10, 20, 1000
    low, high = Preprocessing("MR", "percentile", 10, 90).limits(dataclasses.replace(make_scan(), array=array))
    assert (float(low), float(high)) == (10, 1000)


def test_percentiles_are_of_each_channel():
    scan = make_scan(size=(20, 20, 20), low=0, high=8000)
    both = dataclasses.replace(scan, array=np.concatenate([scan.array, 3 * scan.array + 7]))
    x = Preprocessing("MR", "percentile", 10, 90).apply(both)
    assert torch.allclose(x[0, 0], x[0, 1], atol=1e-5)
    assert float((x[0, 0] == 0).float().mean()) == pytest.approx(0.1, abs=0.002)
    assert float((x[0, 0] == 1).float().mean()) == pytest.approx(0.1, abs=0.002)


def test_percentiles_of_a_big_scan_are_of_a_sample(monkeypatch):
    monkeypatch.setattr("sg_hub.preprocessing.steps._SAMPLES", 1000)
    settings = Preprocessing("MR", "percentile", 10, 90)
    low, high = settings.limits(make_scan(size=(20, 20, 20), low=0, high=8000))
    assert (float(low), float(high)) == pytest.approx((800, 7200), rel=0.02)


def test_a_zscore_has_mean_0_and_deviation_1_and_is_clipped_where_asked():
    values = np.random.default_rng(0).normal(300, 50, (2, 12, 10, 8)).astype(np.float32)
    values[1] = 7 * values[1] - 20
    values[:, :6] = 0  # what lies outside of the head
    settings = Preprocessing("MR", "zscore", -4, 6)
    x = settings.apply(Scan(values, spacing=(1.0, 1.0, 1.0)))
    inside = x[0, :, 6:].double().flatten(1)
    assert torch.allclose(inside.mean(1), torch.zeros(2, dtype=torch.double), atol=1e-3)
    assert torch.allclose(inside.std(1, correction=0), torch.ones(2, dtype=torch.double), atol=1e-3)
    expected = (values[0, 6:] - values[0, 6:].mean()) / values[0, 6:].std()
    assert np.allclose(x[0, 0, 6:].numpy(), expected, atol=1e-3)
    assert torch.equal(x[0, :, :6], torch.full((2, 6, 10, 8), -4.0))
    assert settings.values == (-4, 6)
    assert Preprocessing.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    two = np.zeros((1, 4, 4, 4), np.float32)
    two[0, 0] = 1
    with pytest.raises(InvalidInputError, match=r"voxels above its background are the same value \(1\)"):
        settings.apply(Scan(two, spacing=(1.0, 1.0, 1.0)))


def test_a_zscore_of_an_image_has_margins_of_its_darkest_value():
    image = Image(np.random.default_rng(0).random((1, 40, 20), dtype=np.float32))
    x = ImagePreprocessing(intensity="zscore", low=-3, high=3, input_size=(40, 40)).apply(image)
    assert torch.equal(x[..., :10], torch.full((1, 1, 40, 10), float(x.amin())))
    assert float(x[..., 10:30].mean()) == pytest.approx(0, abs=0.01)


def test_a_scan_of_other_channels_is_refused_before_the_network_is():
    with pytest.raises(InvalidInputError, match=r"scan.nii.gz has 1 channels, the model in_chans=2: load it with"):
        Preprocessing().apply(make_scan(), in_chans=2)


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


def test_a_scan_of_another_modality_is_said_with_both_ranges(caplog):
    scan = make_scan(low=0, high=900)
    with caplog.at_level(logging.WARNING):
        Preprocessing().apply(dataclasses.replace(make_scan(), modality="CT"))
        assert not caplog.records
        Preprocessing().apply(dataclasses.replace(scan, modality="MR"))
    (record,) = caplog.records
    for words in ("is MR by its file (values 0 to ", "expect CT (window -1000 to 1000)", "intensity='percentile'"):
        assert words in record.getMessage()


def test_only_a_scan_is_taken():
    with pytest.raises(InvalidInputError, match=r"takes a Scan, not a ndarray: sg_hub.load_scan"):
        Preprocessing().apply(np.zeros((4, 4, 4)))  # type: ignore[arg-type]


# Grids


def test_the_resampled_grid_covers_the_scan_edge_to_edge():
    assert resampled_size((100, 100, 50), (1.0, 1.0, 3.0), (4.0, 3.0, 1.5)) == (25, 33, 100)
    assert resampled_size((1, 2, 3), (0.1, 0.1, 0.1), (5.0, 5.0, 5.0)) == (1, 1, 1)
    for exact, new in ((0.7, 1.2), (0.8, 1.6)):  # 17.5 and 12.5 voxels; NIfTI has the spacing in single precision
        for size in ((30, 25, 25), (25, 30, 30)):
            single = (float(np.float32(exact)),) * 3
            assert resampled_size(size, single, (new,) * 3) == resampled_size(size, (exact,) * 3, (new,) * 3)
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
    back = settings.restore_grid(settings.apply(scan), scan)
    assert back.shape == (1, 1, 24, 18, 30)
    inside = (slice(4, -4),) * 3
    assert np.allclose(back[0, 0].numpy()[inside] * 2000 - 1000, scan.array[0][inside], atol=1e-2)
    with pytest.raises(InvalidInputError, match=r"expected \(N, C, 14, 33, 12\)"):
        settings.restore_grid(back[0], scan)


def test_the_scans_own_spacing_changes_nothing():
    scan = make_scan()
    x = Preprocessing().apply(scan)
    assert torch.equal(x, Preprocessing(spacing=scan.spacing).apply(scan))
    assert torch.equal(Preprocessing().restore_grid(x, scan), x)


# Images


def test_one_channel_becomes_several_where_the_settings_say_so():
    repeated = Preprocessing(repeat=True)
    x = repeated.apply(make_scan(), 3)
    assert x.shape == (1, 3, 6, 8, 10)
    assert torch.equal(x[:, 0], x[:, 2])
    assert Preprocessing.from_dict(json.loads(json.dumps(repeated.to_dict()))) == repeated
    assert "repeat" not in Preprocessing().to_dict()
    with pytest.raises(InvalidInputError, match="has 1 channels, the model in_chans=3"):
        Preprocessing().apply(make_scan(), 3)
    two = Scan(np.concatenate([make_scan().array] * 2), spacing=(1, 1, 2))
    with pytest.raises(InvalidInputError, match="has 2 channels, the model in_chans=3"):
        repeated.apply(two, 3)
    with pytest.raises(InvalidInputError, match="repeat='yes': expected True or False"):
        Preprocessing(repeat="yes")


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 64), (64, 17), (1000, 3)])
def test_the_image_is_fitted_with_its_proportions_and_back(size):
    rows, columns = np.meshgrid(np.linspace(0.2, 0.8, size[0]), np.linspace(0.1, 0.2, size[1]), indexing="ij")
    image = Image((rows + columns)[None].astype(np.float32))
    settings = ImagePreprocessing(input_size=(64, 64))
    x = settings.apply(image)
    fitted = settings.fitted_size(image)
    assert x.shape == (1, 1, 64, 64)
    assert max(fitted) == 64
    if min(fitted) > 1:  # a thin strip is kept one pixel wide
        assert fitted[0] / fitted[1] == pytest.approx(size[0] / size[1], rel=0.06)
    assert int((x > 0).sum()) == fitted[0] * fitted[1]
    back = settings.restore_grid(x, image)
    assert back.shape == (1, 1, *size)
    if min(fitted) > 1:
        np.testing.assert_allclose(back[0].numpy(), image.array, atol=0.02)


def test_percentiles_do_not_depend_on_the_bit_depth():
    image = load_image(XRAY)
    darker = Image(image.array / 16)
    settings = ImagePreprocessing(intensity="percentile", low=1, high=99)
    torch.testing.assert_close(settings.apply(image), settings.apply(darker), atol=1e-4, rtol=0)
    assert ImagePreprocessing.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_size": (64,)},
        {"input_size": (0, 4)},
        {"input_size": 3},
        {"low": 1.0},
        {"intensity": "histogram"},
        {"intensity": "zscore"},
    ],
)
def test_impossible_settings_of_images(wrong):
    with pytest.raises(InvalidInputError):
        ImagePreprocessing(**wrong)


def test_what_is_no_image_is_refused():
    with pytest.raises(InvalidInputError, match="takes an Image"):
        ImagePreprocessing().apply(torch.zeros(1, 8, 8))
    with pytest.raises(InvalidInputError, match="on one side"):
        ImagePreprocessing(low=0.9, high=1.0).apply(Image(np.linspace(0, 0.5, 64, dtype=np.float32).reshape(1, 8, 8)))


@pytest.mark.parametrize("spacing", [(1e-320, 1, 1), (1e-3, 1e-3, 1e-3)])
def test_a_spacing_that_no_memory_is_enough_for_is_refused(spacing):
    with pytest.raises(InvalidInputError, match="give a larger spacing"):
        resampled_size((512, 512, 300), (0.7, 0.7, 2.5), spacing)
