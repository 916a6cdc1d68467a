"""What the shipped weights were measured to be worth: cards and page say what the records say."""

import json

import pytest

from sg_hub.hub.model_folder import sha256_of
from tests.folders import ROOT
from training.statistics.patients import UNITS, summary
from training.worth.cards import SUFFIX
from training.worth.rows import read_rows

MEASURED = ROOT / "training" / "measured" / "worth"
RECORDS = sorted(MEASURED.glob(f"*{SUFFIX}"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.name.partition("-tiny")[0])
def test_a_card_says_what_was_measured(path):
    record, folder = json.loads(path.read_text(encoding="utf-8")), ROOT / "model_cards" / path.name.rpartition("-")[0]
    assert record["sha256"] == sha256_of(folder / "model.safetensors")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert results["worth"] == [{key: value for key, value in record.items() if key != "record_sha256"}]
    found = {(row.weights.partition(":")[0], row.what, row.measure): row for row in read_rows(MEASURED)}
    page = (MEASURED / "worth.md").read_text(encoding="utf-8")
    assert len(record["rows"]) == 10
    for line in record["rows"]:
        what, _, measure = line["name"].partition(" (")[0].rpartition(": ")
        for key, weights in (("pretrained", folder.name), ("random", "random")):
            value = summary(measure, found[weights, what, measure].array)
            assert (f"{value:.1f}" if measure in UNITS else f"{value:.3f}") == line[key].split()[0]
            assert f" {line[key]} |" in page


def test_there_are_records():
    assert len(RECORDS) == 2
