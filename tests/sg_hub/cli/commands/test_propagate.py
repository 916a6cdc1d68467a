"""sg-hub propagate."""

import SimpleITK as sitk
from PIL import Image

from tests.sg_hub.cli.saying import CT, XRAYS, assert_mistake, middle_of

LABELS = CT.replace("/ct/", "/labels/")


def test_labels_are_carried_and_drawn(run, tmp_path):
    scan, labels = (middle_of(path, tmp_path / f"{name}.nii.gz") for name, path in (("a", CT), ("drawn", LABELS)))
    options = ("--model", "semantic-genesis-3d-tiny", "--out", "b.nii.gz", "--picture", "b.png", "--quiet")
    code, out, error = run("propagate", scan, labels, scan, *options)
    assert (code, error) == (0, "")
    truth, found = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (labels, "b.nii.gz"))
    assert found.shape == truth.shape
    assert ((found > 0) & (truth > 0)).sum() > 0.5 * ((found > 0) | (truth > 0)).sum()
    assert "label 1: " in out
    assert out.splitlines()[-2:] == ["b.nii.gz", "b.png"]
    with Image.open("b.png") as picture:
        assert picture.width > 384


def test_further_labelled_scans_vote(run, tmp_path):
    scan, labels = (middle_of(path, tmp_path / f"{name}.nii.gz") for name, path in (("a", CT), ("drawn", LABELS)))
    drawn = sitk.ReadImage(str(labels))
    nines = sitk.Cast(drawn > 0, sitk.sitkUInt8) * 9
    nines.CopyInformation(drawn)
    sitk.WriteImage(nines, "nines.nii.gz")
    options = ("--model", "semantic-genesis-3d-tiny", "--quiet")
    also = ("--also", scan, labels, "--also", scan, "nines.nii.gz")
    code, out, _ = run("propagate", scan, labels, scan, *also, *options)
    assert (code, "label 9: 0.0 ml" in out) == (0, True)  # two against one
    assert set(sitk.GetArrayFromImage(sitk.ReadImage("labels.nii.gz")).flat) <= {0, 1, 2, 3, 4, 5, 6}
    lost = ("--out", "nines.nii.gz")
    assert_mistake(run("propagate", scan, labels, scan, *also, *options, *lost), "would be lost")


def test_mistakes_are_named(run, models):
    assert_mistake(run("propagate", CT, LABELS, CT, "--out", "b.txt"), ".nii.gz")
    assert_mistake(run("propagate", CT, LABELS, CT, "--out", CT), "would be lost")
    images = ("propagate", XRAYS[0], LABELS, XRAYS[1], "--model", models / "pretext-2d")
    assert_mistake(run(*images), "takes images")


def test_labels_are_read_as_the_scans_are(run, tmp_path):
    scan, labels = (sitk.ReadImage(str(middle_of(path, tmp_path / "part.nii.gz"))) for path in (CT, LABELS))
    for name, image in (("a", scan), ("drawn", labels)):
        sitk.WriteImage(image, f"{name}.mhd")
        header = (tmp_path / f"{name}.mhd").read_text()
        kept = "\n".join(line for line in header.splitlines() if not line.startswith("ElementSpacing"))
        (tmp_path / "headers").mkdir(exist_ok=True)
        (tmp_path / "headers" / f"{name}.mhd").write_text(kept.replace("= a.", "= ../a.").replace("= d", "= ../d"))
    files = [f"headers/{name}.mhd" for name in ("a", "drawn", "a")]
    options = ("--model", "semantic-genesis-3d-tiny", "--quiet", "--outside")
    assert_mistake(run("propagate", *files, *options), "a.mhd does not say its spacing")
    code, out, _ = run("propagate", *files, *options, "--spacing", *scan.GetSpacing())
    assert (code, "label 1: " in out) == (0, True)
