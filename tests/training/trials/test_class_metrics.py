"""Every class of a segmentation: Dice, IoU and the distance of the surfaces."""

import csv
import io

import numpy as np
import pytest

from training.targets import load_target
from training.trials.class_metrics import auc_table, class_table, item_row

TARGET = load_target("openkbp-organs", ["classes=['a', 'b']", "values={}", "background='others'", "mirror_pairs=[]"])


def box(low, high, shape=(12, 10, 8)):
    mask = np.zeros(shape, bool)
    mask[low:high, 2:8, 2:6] = True
    return mask


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
    assert [line["auc"] for line in lines] == ["0.75", "0.75"]  # one curve, of both
