"""sg-hub classify."""

import csv
import json
from pathlib import Path

import pytest

import sg_hub
from tests.sg_hub.cli.saying import CT, OTHER_CT, XRAYS, assert_mistake


@pytest.mark.parametrize(("given", "model"), [(CT, "classification"), (XRAYS[0], "classification-2d")])
def test_classify_prints_name_and_probability(run, models, given, model):
    code, out, error = run("classify", given, "--model", models / model, "--quiet")
    assert (code, error) == (0, "")
    loaded = sg_hub.from_pretrained(models / model)
    read = sg_hub.load_scan if model == "classification" else sg_hub.load_image
    wanted = sg_hub.classify(loaded, read(given), progress=False)
    assert out.splitlines() == [f"{name}: {share:.4f}" for name, share in wanted.items()]
    assert list(wanted) == list(loaded.class_names)


@pytest.mark.parametrize("out", [None, "classes.csv"])
def test_classify_of_several_is_a_table(run, models, out):
    arguments = ("--model", models / "classification", "--quiet", *(() if out is None else ("--out", out)))
    code, text, error = run("classify", CT, "missing.nii", OTHER_CT, *arguments)
    assert code == 3
    missing, summary = error.splitlines()
    assert "missing.nii" in missing
    assert "1 of 3" in summary
    header, *rows = csv.reader((text if out is None else Path(out).read_text(encoding="utf-8")).splitlines())
    assert header == ["scan", *sg_hub.from_pretrained(models / "classification").class_names]
    assert [row[0] for row in rows] == [CT, OTHER_CT]
    assert all(sum(map(float, row[1:])) == pytest.approx(1, abs=1e-4) for row in rows)


def test_a_head_that_knows_no_classes_of_a_whole_scan_is_said(run, models):
    assert_mistake(run("classify", CT, "--model", models / "segmentation"), "fine-tuned for classification")


def test_a_class_called_as_the_column_of_the_scans_makes_no_table(run, tmp_path):
    model = tmp_path / "named"
    options = {"head": "classification", "class_names": ("scan", "photo"), "num_classes": 2}
    sg_hub.SemanticGenesis2D(encoder="lcnet_035", decoder_width=2, **options).eval().save_pretrained(model)
    for arguments in ((XRAYS[0], "--out", "a.csv"), XRAYS[:2]):
        assert_mistake(run("classify", *arguments, "--model", model), "a class 'scan'", "--json")
    assert not Path("a.csv").exists()
    assert list(json.loads(run("classify", XRAYS[0], "--model", model, "--json")[1])["classes"]) == ["scan", "photo"]


def test_json_is_a_line_for_each_the_bad_ones_too(run, models):
    code, out, error = run("classify", XRAYS[0], "missing.png", "--model", models / "classification-2d", "--json")
    done, failed = map(json.loads, out.splitlines())
    assert code == 3
    assert list(done["classes"]) == list(sg_hub.from_pretrained(models / "classification-2d").class_names)
    assert sum(done["classes"].values()) == pytest.approx(1)
    assert failed["scan"] == "missing.png"
    assert failed["error"] in error
