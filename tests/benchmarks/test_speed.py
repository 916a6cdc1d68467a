"""What `make speed` writes, from figures that are given."""

import json

from benchmarks.speed.__main__ import FILE, NOTES, PAGE
from benchmarks.speed.measuring import Row, alternately, compared
from benchmarks.speed.table import page


def test_the_page_shows_the_figures_of_the_last_runs():
    results = json.loads(FILE.read_text(encoding="utf-8"))
    assert page(results, NOTES.read_text(encoding="utf-8")) == PAGE.read_text(encoding="utf-8")


def test_the_ratio_is_the_median_over_pairs_that_ran_one_after_the_other():
    order, moments = [], iter(range(100))
    functions = {"ours": lambda: order.append("ours"), "theirs": lambda: order.append("theirs")}
    taken = alternately(functions, lambda: float(next(moments)), rounds=2, warming=0)
    assert order == ["ours", "theirs"] * 3
    assert taken == {"ours": [1.0, 1.0], "theirs": [1.0, 1.0]}
    rows = compared("it", "ms", {"ours": [1.0, 2.0, 9.0], "theirs": [2.0, 8.0, 3.0]}, 1000)
    assert [(row.value, row.other, row.ratio) for row in rows] == [(2000.0, 3000.0, 0.5)]
    assert compared("alone", "s", {"ours": [1.0]}, 1)[0].as_json() == {"what": "alone", "value": 1.0, "unit": "s"}
    assert Row("it", 0.0, "MB").as_json()["value"] == 0.0
