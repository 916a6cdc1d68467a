"""sg-hub locate."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from sg_hub import load_scan
from tests.sg_hub.cli.saying import CT, OTHER_CT, XRAYS, assert_mistake, middle_of


@pytest.fixture
def network():
    """Trained weights: how far off a random network's places are is a matter of chance."""
    return "semantic-genesis-3d-tiny"


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """The middle of two CT."""
    folder = tmp_path_factory.mktemp("scans")
    return tuple(middle_of(path, folder / f"{name}.nii.gz") for name, path in (("a", CT), ("b", OTHER_CT)))


def at(place):
    return ",".join(f"{value:.2f}" for value in place)


def middle(path):
    scan = load_scan(path)
    return scan.to_mm(np.array([scan.size]) / 2)[0]


def test_places_go_to_a_table_and_a_picture(run, network, scans):
    one, other = scans
    place = middle(one)
    options = ("--model", network, "--picture", "p.png", "--out", "places.csv", "--quiet")
    code, out, error = run("locate", one, "--at", at(place), "--at", at(place + 30), one, other, *options)
    assert (code, error) == (0, "")
    assert out.splitlines() == ["places.csv: 4 places", "p.png"]
    with open("places.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["scan"], float(row["point"])) for row in rows] == [(one, 1), (one, 2), (other, 1), (other, 2)]
    found = np.array([[float(rows[0][axis]) for axis in "xyz"], [float(rows[1][axis]) for axis in "xyz"]])
    assert np.abs(found - [place, place + 30]).max() < 10
    assert all(0 <= float(row["score"]) <= 1 for row in rows)
    with Image.open("p.png") as picture:
        assert picture.width > 6 * 200
        colours = {colour for _, colour in picture.getcolors(1 << 24)}
    assert (0, 158, 115) in colours  # cross-hairs of what was found


def test_voxels_are_those_of_the_file(run, network, scans, tmp_path):
    scan = scans[0]
    turned = sitk.DICOMOrient(sitk.ReadImage(scan), "RAS")
    sitk.WriteImage(turned, str(tmp_path / "ras.nii.gz"))
    size = np.array(turned.GetSize())
    voxel = (size * 0.4).round()
    code, out, _ = run(
        "locate", "ras.nii.gz", "--voxel", "--at", at(voxel), scan, "--model", network, "--json", "--quiet"
    )
    assert code == 0
    line = json.loads(out)
    assert (line["scan"], line["point"], line["found"]) == (scan, 1, line["score"] >= 0.5)
    mm = turned.TransformContinuousIndexToPhysicalPoint(voxel.tolist())
    expected = np.array(sitk.ReadImage(scan).TransformPhysicalPointToContinuousIndex(mm))
    assert np.abs(expected - line["place"]).max() < 3


def test_negative_numbers_are_a_place_and_what_is_said_of_doubt(run, network, scans):
    scan = scans[0]
    assert_mistake(
        run("locate", scan, "--at", "-9000,-3.5,2", scan, "--model", network), "lies outside", "-9000, -3.5, 2"
    )
    code, out, _ = run("locate", scan, "--at", at(middle(scan)), scan, "--model", network, "--quiet")
    assert code == 0
    assert "point 1 at (" in out
    assert " mm, score " in out


def test_mistakes_are_named(run, network, models):
    assert_mistake(run("locate", CT, CT), "--at")
    assert_mistake(run("locate", CT, "--at", "1,2", CT), "three numbers with commas")
    assert_mistake(run("locate", CT, "--at", "1,2,3", CT, "--out", "places.txt"), ".csv")
    assert_mistake(run("locate", XRAYS[0], "--at", "1,2,3", XRAYS[1], "--model", models / "pretext-2d"), "takes images")
