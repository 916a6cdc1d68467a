"""Example pictures: each item once, none without a score."""

from dataclasses import replace

import numpy as np
import pytest

from tests.training.targets.target_folders import target_at
from tests.training.trials.small_trials import ORGANS, QUICK, SMALL, organs, trial_of
from training.trials.examples import examples


@pytest.fixture(scope="module")
def done(patches, weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    return trial_of(target_at("lidc-nodules", patches, *QUICK, *SMALL), folder, f"random:{weights / 'small3d'}")


def shown(done, values):
    """Items that are shown, where the test items have these scores."""
    rows = [row | {"iou": [value]} for row, value in zip(done.test.by_item, values, strict=False)]
    arrays = examples(replace(done, test=replace(done.test, by_item=rows)))
    return {key.removesuffix("_title"): str(arrays[key]).split("\n")[0] for key in arrays if key.endswith("_title")}


def test_the_best_the_median_and_the_worst_are_shown(done):
    names = [row["item"] for row in done.test.by_item]
    assert shown(done, [0.2, 0.9, 0.5, 0.1, 0.3]) == {"best": names[1], "median": names[4], "worst": names[3]}


def test_fewer_items_give_fewer_pictures(done):
    names = [row["item"] for row in done.test.by_item]
    assert shown(done, [0.2, 0.9]) == {"best": names[1], "worst": names[0]}
    assert shown(done, [0.2]) == {"best": names[0]}
    assert shown(done, [None, 0.4, None]) == {"best": names[1]}  # what has no score is not shown
    assert shown(done, [None, None]) == {}


def test_pictures_are_slices_with_what_is_there_and_say_what_is_doubtful(weights, tmp_path):
    done = trial_of(organs(tmp_path, f'doubtful={{ {ORGANS[5]} = "drawn too large" }}'), tmp_path, weights / "small3d")
    arrays = examples(done)
    titles = [str(arrays[f"{rank}_title"]) for rank in ("best", "worst")]
    assert [title.startswith(ORGANS[5]) for title in titles] == ["drawn too large" in title for title in titles]
    for rank in ("best", "worst"):
        assert arrays[f"{rank}_truth"].any()
        assert str(arrays[f"{rank}_sides"]) == "RLAP"
        assert arrays[f"{rank}_image"].dtype == np.uint8
        assert arrays[f"{rank}_image"].shape == arrays[f"{rank}_truth"].shape == arrays[f"{rank}_found"].shape
