import warnings

import numpy as np
import pytest

from training.statistics.patients import corrected, difference, interval, summary


def values(shift=0.0, seed=0, noise=0.0):
    """Of 10 draws, 20 patients and 3 classes: easy and hard patients, the same whatever the seed of the noise."""
    patients = np.random.default_rng(1).normal(0.5, 0.2, (1, 20, 3))
    return patients + shift + np.random.default_rng(seed).normal(0, noise or 1e-9, (10, 20, 3))


def test_a_small_difference_is_seen_through_easy_and_hard_patients():
    found = difference("iou", values(0.03, 2, 0.02), values(0, 3, 0.02), joint=False)
    assert found.value == pytest.approx(0.03, abs=0.005)
    assert found.low < 0.03 < found.high
    assert found.low > 0.02
    assert found.p < 0.01
    assert found.effect > 2
    assert found.effect_low < found.effect < found.effect_high
    assert found.welch > 0.3  # not paired, it sees the patients' scatter alone


def test_no_difference_is_none():
    found = difference("iou", values(0, 2, 0.05), values(0, 3, 0.05), joint=False)
    assert found.low < 0 < found.high
    assert found.p > 0.05


def test_a_patient_comes_with_all_his_items(monkeypatch):
    monkeypatch.setattr("training.statistics.patients.RESAMPLES", 200)
    few = values(0.0)[:, :5]
    many, names = np.repeat(few, 4, axis=1), [f"p{number // 4}" for number in range(20)]
    assert interval("iou", many, False, names) == pytest.approx(interval("iou", few, False))
    found = difference("iou", many * 1.2, many, False, names)
    known = difference("iou", few * 1.2, few, False)
    assert vars(found) == pytest.approx(vars(known))
    alone = interval("iou", many, False)
    assert alone[1] - alone[0] < 0.7 * np.diff(interval("iou", few, False))[0]


def test_landmarks_are_by_their_median_and_templates_are_drawn_with_the_patients():
    errors = np.full((6, 6, 2), 10.0)
    errors[0, 1] = 500.0
    errors[np.arange(6), np.arange(6)] = np.nan
    assert summary("landmark error", errors) == 10
    low, high = interval("landmark error", errors, joint=True)
    assert (low, high) == (10, 10)
    assert difference("landmark error", errors + 5, errors, joint=True).value == 5


def test_classes_weigh_the_same_and_what_is_missing_in_one_counts_in_neither():
    one = np.array([[[0.2, 0.8], [0.4, np.nan]]])
    assert summary("iou", one) == pytest.approx((0.3 + 0.8) / 2)
    other = np.array([[[0.1, 0.5], [np.nan, 0.9]]])
    assert difference("iou", one, other, joint=False).value == pytest.approx((0.2 + 0.8) / 2 - (0.1 + 0.5) / 2)


def test_p_is_corrected_for_all_comparisons():
    same = difference("iou", values(0.03, 2, 0.02), values(0, 3, 0.02), joint=False)
    holm = corrected({"a": same, "b": same, "c": same})
    assert holm["a"] == pytest.approx(min(1, 3 * same.p))


def test_what_has_no_value_differs_from_nothing():
    nothing = np.full((3, 4, 2), np.nan)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        found = difference("iou", nothing, values(0)[:3, :4, :2], joint=False)
    assert np.isnan(found.value)
    assert np.isnan(found.p)
