"""The windows of grey levels: those of CT where that is known, percentiles otherwise."""

import dataclasses

import numpy as np
import pytest

from sg_hub import Preprocessing, Scan
from sg_hub.view.windows import CT, windows


def scan(low=-1000, modality=""):
    values = np.linspace(low, 1000, 8 * 8 * 8, dtype=np.float32).reshape(1, 8, 8, 8)
    return Scan(values, modality=modality)


@pytest.mark.parametrize(
    ("given", "expects", "ct", "said"),
    [
        (scan(modality="CT"), "CT", True, "CT, HU"),
        (scan(modality="CT"), "MR", True, "CT, HU"),
        (scan(modality="MR"), "CT", False, "MR"),
        (scan(), "CT", True, "taken for CT"),
        (scan(), "MR", False, "no modality"),
        (scan(low=0), "CT", False, "no modality"),
    ],
)
def test_those_of_ct_are_offered_where_it_is_one(given, expects, ct, said):
    levels, offered = windows(given, Preprocessing(modality=expects))
    assert said in levels
    assert ("HU" in levels) == ct
    assert (tuple(offered[:4]) == CT) == ct
    assert [window.name for window in offered[-2:]] == ["1st to 99th percentile", "all values"]
    low, high = given.array.min(), given.array.max()
    assert (offered[-1].low, offered[-1].high) == (low, high)
    assert offered[-2].low == pytest.approx(low + 0.01 * (high - low), rel=0.01)
    assert offered[-2].high == pytest.approx(high - 0.01 * (high - low), rel=0.01)


def test_nearly_everything_the_same_leaves_all_values():
    array = np.zeros((1, 16, 16, 16), dtype=np.float32)
    array[0, 0, 0, 0] = 5
    _, offered = windows(dataclasses.replace(scan(modality="MR"), array=array), Preprocessing())
    assert [(window.low, window.high) for window in offered] == [(0, 5)]
