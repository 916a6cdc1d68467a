"""sg-hub embed."""

import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from sg_hub.cli.commands import embed
from tests.sg_hub.cli.saying import CT, OTHER_CT, XRAYS, assert_mistake, image, noise
from tests.sg_hub.io.formats.dicom.dicom_files import VOLUME, write_series


def test_embed_prints_csv(run, models):
    code, out, error = run("embed", CT, "--model", models / "pretext")
    assert code == 0
    header, row = csv.reader(out.splitlines())
    assert header[:2] == ["scan", "feature_0"]
    assert row[0] == CT
    assert len(header) == len(row) == 1 + 16 * 2
    assert "window" in error  # the progress bar


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_embed_of_several_scans_writes_a_row_per_scan(run, models, suffix):
    out = f"features{suffix}"
    code, _, error = run("embed", CT, OTHER_CT, "--model", models / "pretext", "--out", out, "--quiet")
    assert (code, error) == (0, "")
    if suffix == ".npy":
        features = np.load(out)
    else:
        rows = list(csv.reader(Path(out).read_text(encoding="utf-8").splitlines()))
        assert [row[0] for row in rows] == ["scan", CT, OTHER_CT]
        features = np.array([row[1:] for row in rows[1:]], dtype=float)
    assert features.shape == (2, 32)
    assert not np.allclose(features[0], features[1])
    assert os.listdir() == [out]


def test_the_list_of_scans_is_never_replaced_by_the_result(run, models):
    listed = Path("scans.csv")
    listed.write_text(f"{CT}\n{OTHER_CT}\n", encoding="utf-8")
    for command, model in (("embed", "pretext"), ("classify", "classification")):
        options = ("--list", "scans.csv", "--out", "./scans.csv", "--model", models / model, "--quiet")
        assert_mistake(run(command, *options), "would be lost")
    assert listed.read_text(encoding="utf-8") == f"{CT}\n{OTHER_CT}\n"


def test_embed_of_images(run, models):
    code, _, _ = run("embed", *XRAYS[:2], "--model", models / "pretext-2d", "--out", "features.npy", "--quiet")
    assert code == 0
    features = np.load("features.npy")
    assert features.shape[0] == 2
    first, second = (row / np.abs(row).max() for row in features)
    assert not np.allclose(first, second)


@pytest.mark.parametrize("suffix", [".npy", ".csv", None])
def test_what_fails_among_several_is_named_at_the_end_and_the_others_are_kept(run, models, suffix):
    Path("bad.nii.gz").write_text("no scan", encoding="utf-8")
    scans = [CT, "bad.nii.gz", "missing.nii", OTHER_CT]
    out = [] if suffix is None else ["--out", f"f{suffix}"]
    code, text, error = run("embed", *scans, "--model", models / "pretext", *out, "--quiet")
    assert code == 3
    bad, missing, summary = error.splitlines()
    assert "bad.nii.gz" in bad
    assert "missing.nii" in missing
    assert "2 of 4" in summary
    if suffix == ".npy":
        found = np.isfinite(np.load("f.npy"))
        assert found.shape == (4, 32)
        assert [row.all() or row.any() for row in found] == [True, False, False, True]  # each in its input's place
        assert "4 x 32 (scans x features, 2 of them NaN: what failed)" in text
    else:
        table = text if suffix is None else Path("f.csv").read_text(encoding="utf-8")
        assert [row[0] for row in csv.reader(table.splitlines())] == ["scan", CT, OTHER_CT]


def test_an_older_table_stays_when_every_scan_fails(run, models):
    Path("f.csv").write_text("older", encoding="utf-8")
    code, out, error = run("embed", "a.nii", "b.nii", "--model", models / "pretext", "--out", "f.csv", "--quiet")
    assert (code, out, error.count("\n")) == (2, "", 3)
    assert Path("f.csv").read_text(encoding="utf-8") == "older"


def test_each_series_of_a_folder_is_a_scan(run, models):
    write_series(Path("mixed"), SeriesInstanceUID="1.2.1")
    for file in sorted(Path("mixed").iterdir()):
        file.rename(file.with_name(f"a{file.name}"))
    write_series(Path("mixed"), SeriesInstanceUID="1.2.2")
    code, out, _ = run("embed", "mixed", "--model", models / "pretext")
    assert code == 0
    assert [line.partition(",")[0] for line in out.splitlines()[1:]] == ["mixed/0.dcm", "mixed/a0.dcm"]
    write_series(Path("scout"), VOLUME[:1], SeriesInstanceUID="1.2.3")
    next(Path("scout").iterdir()).rename(Path("mixed", "scout.dcm"))
    code, again, error = run("embed", "mixed", "--model", models / "pretext")
    assert (code, again) == (0, out)
    assert "note: mixed/scout.dcm is a series of one slice, and is left out" in error
    code, out, _ = run("embed", "mixed", "--series", "1.2.2", "--model", models / "pretext")
    assert (code, len(out.splitlines())) == (0, 2)


def test_series_is_for_one_scan(run, models):
    assert_mistake(run("embed", CT, OTHER_CT, "--series", "1.2", "--model", models / "pretext"), "one scan")


def test_a_spacing_can_be_given_and_a_header_may_lead_elsewhere(run, models, tmp_path):
    image(tmp_path / "scan.mhd", noise(4, 4, 4))
    header = (tmp_path / "scan.mhd").read_text(encoding="utf-8")
    lines = [line for line in header.splitlines() if not line.startswith(("ElementSpacing", "ElementDataFile"))]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "scan.mhd").write_text(
        "\n".join([*lines, "ElementDataFile = ../scan.raw"]), encoding="utf-8"
    )
    command = ("embed", "elsewhere/scan.mhd", "--model", models / "pretext", "--out", "f.npy")
    assert_mistake(run(*command), "outside its own folder", "--outside")
    assert_mistake(run(*command, "--outside"), "ElementSpacing", "--spacing X Y Z")
    assert run(*command, "--outside", "--spacing", "1", "1", "2")[0] == 0


def test_nan_voxels_can_be_replaced(run, models, tmp_path):
    values = noise(4, 4, 4)
    values[1, 2, 3] = np.nan
    image(tmp_path / "scan.nii.gz", values)
    assert run("embed", "scan.nii.gz", "--model", models / "pretext", "--nan", "-1000", "--out", "f.npy")[0] == 0
    assert np.isfinite(np.load("f.npy")).all()


def test_several_are_given_as_a_folder_or_as_a_list(run, models, monkeypatch):
    os.makedirs("lists/xrays")
    for name, xray in zip("ab", XRAYS, strict=False):
        shutil.copy(xray, f"lists/xrays/{name}.png")
    Path("lists/list.txt").write_text(f"xrays/b.png\n\n{XRAYS[0]}\n", encoding="utf-8")
    model = ("--model", models / "pretext-2d", "--quiet")

    def rows(*given):
        code, out, error = run("embed", *given, *model)
        assert (code, error) == (0, "")
        return [row[0] for row in csv.reader(out.splitlines())][1:]

    assert rows("lists/xrays") == ["lists/xrays/a.png", "lists/xrays/b.png"]
    assert rows("--list", "lists/list.txt") == ["lists/xrays/b.png", XRAYS[0]]
    monkeypatch.setattr(sys, "stdin", io.StringIO("lists/xrays/a.png\n"))
    assert rows("--list", "-", XRAYS[1]) == [XRAYS[1], "lists/xrays/a.png"]


def test_no_scan_at_all_is_said(run, models):
    Path("empty.txt").write_text("\n", encoding="utf-8")
    os.mkdir("nothing")
    model = ("--model", models / "pretext-2d")
    assert_mistake(run("embed", *model), "which scans?", "--list")
    assert_mistake(run("embed", "--list", "empty.txt", *model), "empty.txt names none")
    assert_mistake(run("embed", "--list", "missing.txt", *model), "missing.txt", "cannot be read")
    assert_mistake(run("embed", "nothing", *model), "nothing")


def test_json_is_the_vector_of_each(run, models):
    code, out, _ = run("embed", XRAYS[0], "--model", models / "pretext-2d", "--json", "--out", "f.npy", "--quiet")
    assert code == 0
    given = json.loads(out)
    assert given["scan"] == XRAYS[0]
    np.testing.assert_allclose(given["features"], np.load("f.npy")[0])


def test_vectors_that_are_there_are_kept_when_it_is_stopped(run, models, monkeypatch):
    read = embed.read

    def stopped(model, path, options):
        if path == XRAYS[1]:
            raise KeyboardInterrupt
        return read(model, path, options)

    monkeypatch.setattr(embed, "read", stopped)
    assert run("embed", *XRAYS[:2], "--model", models / "pretext-2d", "--out", "f.npy", "--quiet")[0] == 130
    assert np.isfinite(np.load("f.npy")).all(1).tolist() == [True, False]
