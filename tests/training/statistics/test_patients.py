import warnings

import numpy as np
import pytest

from training.statistics.patients import (
    _effects,
    _resamples,
    _summaries,
    corrected,
    difference,
    found_share,
    interval,
    summary,
)


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


def test_several_networks_count_as_the_mean_of_each_and_not_as_their_mean():
    """Of five networks that miss two places in five by far, each is off by 14 mm in the median; their mean would be off
    by 41."""
    noise = np.random.default_rng(0)
    missed = noise.random((5, 15, 15, 3)) < 0.4
    errors = np.where(missed, noise.uniform(40, 120, missed.shape), noise.uniform(5, 15, missed.shape))
    each = [summary("landmark error", one) for one in errors]
    assert summary("landmark error", errors) == pytest.approx(np.mean(each))
    assert summary("landmark error", errors.mean(0)) > 2 * np.mean(each)
    low, high = interval("landmark error", errors, joint=True)
    assert low < np.mean(each) < high
    found = difference("landmark error", errors[0] + 3, errors, joint=True)
    assert found.value == pytest.approx(each[0] + 3 - np.mean(each))


def test_which_networks_were_drawn_is_in_the_interval(monkeypatch):
    monkeypatch.setattr("training.statistics.patients.RESAMPLES", 200)
    unlike = np.stack([values(shift, 3, 0.02) for shift in (-0.3, -0.1, 0.1, 0.3)])
    low, high = interval("iou", unlike, joint=False)
    alone = interval("iou", unlike.mean(0), joint=False)
    assert high - low > 2 * (alone[1] - alone[0])
    several = difference("iou", values(0.05, 2, 0.02), unlike, joint=False)
    alone = difference("iou", values(0.05, 2, 0.02), unlike.mean(0), joint=False)
    assert several.p > 0.05 > alone.p


def test_who_finds_what_is_not_there_loses_to_who_does_not():
    """In ten of twenty patients nothing was outlined; one of the two finds something in each of them."""
    there, absent = np.full((1, 10, 1), 0.8), np.zeros((1, 10, 1))
    everywhere, right = np.concatenate([there, absent], 1), np.concatenate([there, absent * np.nan], 1)
    found = difference("iou", everywhere, right, joint=False)
    assert found.value == pytest.approx((10 * 0.8) / 20 - (10 * 0.8 + 10) / 20)
    assert found.p < 0.05


def test_centres_that_one_did_not_find_count_in_neither_and_how_many_is_said():
    errors = np.full((1, 20, 1), 8.0)
    few = np.where(np.arange(20)[None, :, None] < 3, 5.0, np.nan)
    errors[0, 0] = np.nan
    assert difference("centre error", few, errors, joint=False).value == -3
    assert found_share(few, errors) == pytest.approx(3 / 20)
    assert found_share(errors, few) == pytest.approx(19 / 20)
    assert np.isnan(found_share(few * np.nan, few * np.nan))


def test_p_can_be_small_enough_for_all_comparisons():
    one, other = values(0.3, 2, 0.02), values(0, 3, 0.02)
    assert difference("iou", one, other, joint=False).p * 60 > 0.05
    assert difference("iou", one, other, joint=False, comparisons=60).p * 60 < 0.05


@pytest.mark.parametrize("measure", ["iou", "landmark error"])
@pytest.mark.parametrize("joint", [False, True])
def test_a_resample_is_summarised_as_if_it_were_written_out(measure, joint):
    noise = np.random.default_rng(0)
    one, other = noise.random((2, 3, 7, 7, 2))
    one[:, noise.random((7, 7, 2)) < 0.3] = np.nan
    other[np.isnan(one)] = np.nan
    patient_of = np.array([0, 0, 1, 2, 2, 2, 3])
    drawn = _resamples((7, 7), joint, patient_of, 20, (3, 3))
    found = [_summaries(measure, values, drawn, which) for which, values in enumerate((one, other))]
    effects = _effects((one, other), patient_of, drawn)
    for number in range(20):
        several = [np.repeat(range(3), times[number].astype(int)) for times in drawn.networks]
        draws, items = (np.repeat(range(7), x[number].astype(int)) for x in (drawn.draws, drawn.items))
        out = [values[np.ix_(nets, draws, items)] for nets, values in zip(several, (one, other), strict=True)]
        assert [x[number] for x in found] == pytest.approx([summary(measure, values) for values in out])
        apart = out[0].mean(0) - out[1].mean(0)
        people = np.repeat(range(4), drawn.patients[number].astype(int))
        means = np.array([np.nanmean(apart[:, patient_of[items] == patient]) for patient in people])
        spread = means.std(ddof=1) if len({*people}) > 1 else np.nan
        assert effects[number] == pytest.approx(means.mean() / spread, nan_ok=True)
