"""What the commands are given: bad scans, bad models, impossible outputs, several at once."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sg_hub.cli import inputs
from tests.sg_hub.cli.saying import CT, XRAYS, assert_mistake, image, noise

OUTPUTS = {
    "embed": ("pretext", "--out", ".npy"),
    "restore": ("pretext", "--out", ".png"),
    "segment": ("segmentation", "--out", ".nii.gz"),
    "preprocess": ("pretext", "--picture", ".png"),
}


@pytest.mark.parametrize("command", OUTPUTS)
def test_impossible_outputs_are_refused_before_the_work(run, models, command, monkeypatch):
    def never(*_, **__):
        pytest.fail("loaded before the output was checked")

    monkeypatch.setattr(inputs, "load_scan", never)
    monkeypatch.setattr(inputs, "from_pretrained", never)
    head, option, suffix = OUTPUTS[command]
    os.mkdir(f"folder{suffix}")
    start = [command, CT, "--model", models / head, option]
    assert_mistake(run(*start, f"missing/result{suffix}"), "missing does not exist")
    assert_mistake(run(*start, "result.txt"), "result.txt", suffix)
    assert_mistake(run(*start, f"folder{suffix}"), "is a folder")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        assert_mistake(run(*start, f"result{suffix}"), "may not write")


def _empty(folder):
    (folder / "scan.nii.gz").touch()


def _truncated(folder):
    (folder / "scan.nii.gz").write_bytes(Path(CT).read_bytes()[:9000])


def _text(folder):
    (folder / "scan.nii.gz").write_text("not a scan at all", encoding="utf-8")


def _four_dimensions(folder):
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(noise(4, 4, 4))] * 3), folder / "scan.nii.gz")


def _colour(folder):
    image(folder / "scan.nii.gz", noise(4, 4, 4, 3).astype(np.uint8), isVector=True)


def _constant(folder):
    image(folder / "scan.nii.gz", np.full((4, 4, 4), 7, np.float32))


def _nan(folder):
    values = noise(4, 4, 4)
    values[1, 2, 3] = np.nan
    image(folder / "scan.nii.gz", values)


def _zero_spacing(folder):
    header = "NDims = 3\nDimSize = 2 2 2\nElementType = MET_SHORT\nElementSpacing = 1 0 1\n"
    (folder / "scan.mhd").write_text(f"ObjectType = Image\n{header}ElementDataFile = scan.raw\n", encoding="utf-8")
    (folder / "scan.raw").write_bytes(bytes(range(16)))


def _folder_without_scans(folder):
    (folder / "scan").mkdir()
    (folder / "scan" / "notes.txt").write_text("nothing here", encoding="utf-8")


BAD_SCANS = {
    _empty: ("scan.nii.gz", "empty"),
    _truncated: ("scan.nii.gz", "truncated"),
    _text: ("scan.nii.gz", "damaged"),
    _four_dimensions: ("scan.nii.gz", "4D"),
    _colour: ("scan.nii.gz", "colour"),
    _constant: ("scan.nii.gz", "7"),
    _nan: ("scan.nii.gz", "nan"),
    _zero_spacing: ("scan.mhd", "spacing"),
    _folder_without_scans: ("scan", "no"),
}


@pytest.mark.parametrize("make", BAD_SCANS, ids=lambda make: make.__name__.strip("_"))
def test_a_bad_scan_is_one_clear_line_and_nothing_is_written(run, models, tmp_path, make):
    name, word = BAD_SCANS[make]
    make(tmp_path)
    before = sorted(os.listdir())
    result = run("embed", name, "--model", models / "pretext", "--out", "features.npy", "--quiet")
    assert_mistake(result, name, word)
    assert sorted(os.listdir()) == before


def test_a_bad_model_is_one_clear_line(run, models, tmp_path):
    damaged, newer = tmp_path / "damaged", tmp_path / "newer"
    shutil.copytree(models / "pretext", damaged)
    shutil.copytree(models / "pretext", newer)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    config = json.loads((newer / "config.json").read_text(encoding="utf-8"))
    (newer / "config.json").write_text(json.dumps({**config, "config_version": 99}), encoding="utf-8")
    assert_mistake(run("embed", CT, "--model", damaged), "model.safetensors", "damaged")
    assert_mistake(run("info", newer), "99", "upgrade")
    assert_mistake(run("info", "no-such-model"), "no-such-model", "registered name")


def test_options_of_scans_and_of_images_are_told_apart(run, models):
    image = ("embed", XRAYS[0], "--model", models / "pretext-2d")
    assert_mistake(run(*image, "--nan", "-1000"), "--nan is for scans")
    assert_mistake(run(*image, "--nan", "0", "--series", "1.2"), "--series and --nan are for scans")
    assert_mistake(run(*image, "--spacing", "1", "1", "2", "--outside"), "--spacing and --outside are for scans")
    assert_mistake(run("segment", XRAYS[0], "--model", models / "segmentation-2d", "--overlap", "0.3"), "for scans")
    assert_mistake(run("embed", CT, "--model", models / "pretext", "--bits", "12"), "--bits is for images")
    assert_mistake(run(*image, "--bits", "4"), "4 bits")


def test_scans_and_images_are_told_apart(run, models, tmp_path):
    assert_mistake(run("embed", CT, "--model", models / "pretext-2d"), "is a 3D scan")
    assert_mistake(run("embed", tmp_path / "nothing.png", "--model", models / "pretext-2d"), "no such file")
    assert_mistake(run("embed", XRAYS[0], "--model", models / "pretext"), "2D picture")
