"""What the shipped weights were measured to be worth: cards and page say what the records say."""

import json

import pytest

from sg_hub.hub.model_folder import sha256_of
from tests.support.folders import ROOT
from training.statistics.patients import UNITS, summary
from training.targets import load_target
from training.worth import page
from training.worth.asked import Asked
from training.worth.cards import SUFFIX, write_card_records
from training.worth.networks import contenders
from training.worth.page import cells_of
from training.worth.rows import TABLE, read_rows

MEASURED = ROOT / "training" / "measured" / "worth"
RECORDS = sorted(MEASURED.rglob(f"*{SUFFIX}"))
CHEST = ["dense-contrast-3d-chest-tiny", "dense-contrast-3d-tiny", "semantic-genesis-3d-tiny"]
ASKED = {
    "openkbp-head-neck": (
        ["dense-contrast-3d-tiny", "dense-contrast-3d-small", "semantic-genesis-3d-tiny"],
        ["random:semantic-genesis-3d-tiny", "random:dense-contrast-3d-small"],
        1,
    ),
    "chestxray14-subset": (
        ["dense-contrast-2d-tiny", "semantic-genesis-2d-tiny"],
        ["random:dense-contrast-2d-tiny"],
        5,
    ),
    "lidc-candidates": (CHEST, ["random:dense-contrast-3d-chest-tiny"], 5),
    "lidc-malignancy": (CHEST, ["random:dense-contrast-3d-chest-tiny"], 5),
}
"""Weights, random networks, and draws of these, by target."""


def folder_of(target):
    return MEASURED if target == "openkbp-head-neck" else MEASURED / target


def test_the_table_has_all_that_was_measured():
    assert sorted(path.parent for path in MEASURED.rglob(TABLE)) == sorted(map(folder_of, ASKED))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.name.removesuffix(SUFFIX))
def test_a_card_says_what_was_measured(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    name, _, target = path.name.removesuffix(SUFFIX).partition(f"-{record['sha256'][:8]}-")
    folder = ROOT / "model_cards" / name
    assert record["sha256"] == sha256_of(folder / "model.safetensors")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert {key: value for key, value in record.items() if key != "record_sha256"} in results["worth"]
    weights, random, _ = ASKED[target]
    fresh = random[-1] if "small" in name else random[0]
    cells = cells_of(read_rows(path.parent), [*weights, *random])
    written = (path.parent / "worth.md").read_text(encoding="utf-8")
    assert len(record["rows"]) == len(cells)
    for line, ((_, what, measure), found) in zip(record["rows"], cells.items(), strict=True):
        assert line["name"].partition(" (")[0] == f"{what}: {measure}"
        for key, of in (("pretrained", name), ("random", fresh)):
            value = summary(measure, found[of].array)
            assert (f"{value:.1f}" if measure in UNITS else f"{value:.3f}") == line[key].split()[0]
            assert f" {line[key]} |" in written


@pytest.mark.parametrize("target", ASKED)
def test_a_picture_says_of_how_many_patients_and_draws_it_is_and_what_its_lines_are(target, tmp_path, monkeypatch):
    weights, random, _ = ASKED[target]
    drawn = []
    monkeypatch.setattr(page, "save", lambda figure, path: drawn.append(figure))
    monkeypatch.setattr(page, "interval", lambda *_: (0.0, 1.0))  # takes long, and stands in the tables
    rows = read_rows(folder_of(target))
    cells = cells_of(rows, [*weights, *random])
    for part in {cell[0] for cell in cells}:
        of_part = {cell: found for cell, found in cells.items() if cell[0] == part}
        page._figure(of_part, [*weights, *random], "title of the task", tmp_path)
    for figure in drawn:
        assert figure.get_suptitle() == "title of the task"
        assert "95 % interval of a bootstrap over patients and draws" in figure.get_supxlabel()
        page.plt.close(figure)
    said = {panel.get_title().rpartition("\n")[2] for figure in drawn for panel in figure.axes} - {""}
    assert (
        said
        == {
            "openkbp-head-neck": {"15 patients, 15 templates", "15 patients, 5 draws", "21 patients, 10 draws"},
            "chestxray14-subset": {"176 patients, 1 draw", "176 patients, 10 draws"},
            "lidc-candidates": {"169 patients, 1 draw", "169 patients, 10 draws"},
            "lidc-malignancy": {"154 patients, 1 draw", "154 patients, 10 draws"},
        }[target]
    )


@pytest.mark.parametrize("target", ASKED)
def test_the_records_are_made_of_what_was_measured(target, tmp_path):
    weights, random, draws = ASKED[target]
    found = contenders([*weights, *random], draws)
    task = load_target(target, [], None, [one.start.config["preprocessing"] for one in found])
    write_card_records(tmp_path, read_rows(folder_of(target)), [Asked(task, one, None) for one in found])
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == sorted(path.name for path in RECORDS if path.parent == folder_of(target))
    for name in made:
        assert (tmp_path / name).read_bytes() == (folder_of(target) / name).read_bytes()
