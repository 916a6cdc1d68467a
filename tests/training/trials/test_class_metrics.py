"""Every class of a segmentation: Dice, IoU and the distance of the surfaces."""

import csv
import io
import math

import numpy as np
import pytest

from training.targets import load_target
from training.trials.class_metrics import auc_table, class_table, item_row, surface_distances

TARGET = load_target("openkbp-organs", ["classes=['a', 'b']", "values={}", "background='others'", "mirror_pairs=[]"])


def box(low, high, shape=(12, 10, 8)):
    mask = np.zeros(shape, bool)
    mask[low:high, 2:8, 2:6] = True
    return mask


def test_surfaces_that_lie_two_voxels_apart():
    mean, far = surface_distances(box(2, 8), box(4, 10), (3.0, 1.0, 1.0))
    assert 0 < mean < far <= 6.0
    assert far == 6.0, "the two ends are two voxels of 3 mm apart"
    assert surface_distances(box(2, 8), box(2, 8), (1, 1, 1)) == (0, 0)


def test_a_plane_moved_along_an_axis_is_that_far_away_everywhere():
    one, other = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    one[2], other[5] = True, True
    assert surface_distances(one, other, (2.0, 5.0, 5.0)) == (6.0, 6.0)
    assert surface_distances(other, one, (2.0, 5.0, 5.0)) == (6.0, 6.0)


def test_there_is_no_distance_to_nothing():
    assert all(math.isnan(value) for value in surface_distances(box(2, 8), box(0, 0), (1, 1, 1)))


def test_the_table_has_a_line_for_each_class_with_what_was_missed():
    truth, found = box(2, 8).astype(np.uint8), box(2, 8).astype(np.uint8)
    missed = np.zeros_like(truth)
    rows = [item_row("x", found, truth, 2, (1, 1, 1)), item_row("y", missed, truth, 2, (1, 1, 1))]
    first, second = csv.DictReader(io.StringIO(class_table(TARGET, rows, "mm")))
    assert (first["class"], first["items"], first["missed"], first["dice"]) == ("a", "2", "1", "0.5")
    assert float(first["dice_sd"]) == pytest.approx(np.std([0, 1], ddof=1), abs=1e-4)
    assert (first["surface_mm"], first["surface_mm_sd"], first["surface95_mm"]) == ("0", "", "0")
    assert (second["class"], second["items"], second["dice"]) == ("b", "0", "")


def test_of_a_classification_it_is_the_auc():
    rows = [{"label": label, "probabilities": [1 - p, p]} for label, p in ((0, 0.2), (0, 0.6), (1, 0.5), (1, 0.9))]
    target = load_target("lidc-malignancy")
    lines = list(csv.DictReader(io.StringIO(auc_table(target, rows))))
    assert [line["positives"] for line in lines] == ["2", "2"]
    assert [line["auc"] for line in lines] == ["", "0.75"]
