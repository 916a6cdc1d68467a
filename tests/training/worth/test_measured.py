"""What the shipped weights were measured to be worth: cards and page say what the records say."""

import json

import pytest

from sg_hub.hub.model_folder import sha256_of
from tests.folders import ROOT
from training.statistics.patients import UNITS, summary
from training.targets import load_target
from training.worth.asked import Asked
from training.worth.cards import SUFFIX, write_card_records
from training.worth.networks import contenders
from training.worth.rows import read_rows

MEASURED = ROOT / "training" / "measured" / "worth"
RECORDS = sorted(MEASURED.glob(f"*{SUFFIX}"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.name.rpartition("-")[0])
def test_a_card_says_what_was_measured(path):
    record, folder = json.loads(path.read_text(encoding="utf-8")), ROOT / "model_cards" / path.name.rpartition("-")[0]
    assert record["sha256"] == sha256_of(folder / "model.safetensors")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert results["worth"] == [{key: value for key, value in record.items() if key != "record_sha256"}]
    found = {(row.weights, row.what, row.measure): row for row in read_rows(MEASURED)}
    random = "random:dense-contrast-3d-small" if "small" in path.name else "random:semantic-genesis-3d-tiny"
    page = (MEASURED / "worth.md").read_text(encoding="utf-8")
    assert len(record["rows"]) == 13
    for line in record["rows"]:
        what, _, measure = line["name"].partition(" (")[0].rpartition(": ")
        for key, weights in (("pretrained", folder.name), ("random", random)):
            value = summary(measure, found[weights, what, measure].array)
            assert (f"{value:.1f}" if measure in UNITS else f"{value:.3f}") == line[key].split()[0]
            assert f" {line[key]} |" in page


def test_the_records_are_made_of_what_was_measured(tmp_path):
    names = ["dense-contrast-3d-tiny", "dense-contrast-3d-small", "semantic-genesis-3d-tiny"]
    names += ["random:semantic-genesis-3d-tiny", "random:dense-contrast-3d-small"]
    found = contenders(names, 1)
    task = load_target("openkbp-head-neck", [], None, [one.start.config["preprocessing"] for one in found])
    write_card_records(tmp_path, read_rows(MEASURED), [Asked(task, one, None) for one in found])
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in RECORDS]
    for path in RECORDS:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
