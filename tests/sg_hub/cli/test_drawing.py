"""Pictures of scans and images."""

import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk

import sg_hub
from sg_hub import Scan
from sg_hub.cli import drawing
from tests.sg_hub.cli.saying import noise


@pytest.mark.parametrize("command", ["restore", "segment", "preprocess"])
def test_pictures_of_anisotropic_scans_have_their_true_shape(run, models, tmp_path, monkeypatch, command):
    scan = sitk.GetImageFromArray(noise(12, 20, 24))
    scan.SetSpacing((4.0, 8.0, 18.0))
    sitk.WriteImage(scan, tmp_path / "scan.nii.gz")
    drawn = []

    def montage(rows, *arguments, **options):
        drawn.extend(rows)
        return draw(rows, *arguments, **options)

    draw = drawing.montage
    monkeypatch.setattr(drawing, "montage", montage)
    model = models / ("segmentation" if command == "segment" else "pretext")
    option = "--out" if command == "restore" else "--picture"
    assert run(command, "scan.nii.gz", "--model", model, option, "p.png", "--quiet")[0] == 0
    # (y, x) and (z, x) in mm: of the scan's voxels, or of the network's, which are 8 x 8 x 6 here.
    axial, coronal = ((8, 4), (18, 4)) if command == "segment" else ((8, 8), (6, 8))
    assert [row.pixel for row in drawn] == ([axial] * 3 if command == "restore" else [axial, coronal])


def test_the_slice_with_the_most_labels_is_drawn():
    axial, coronal = drawing.views(Scan(np.zeros((1, 4, 5, 9), dtype=np.float32)))
    labels = np.zeros((4, 5, 9), dtype=np.uint8)
    assert (coronal.fullest(labels), axial.fullest(labels)) == (2, 4)
    labels[:2, 1, 7] = 3
    labels[0, 3, 2] = 1
    assert (coronal.fullest(labels), axial.fullest(labels)) == (1, 7)


def test_specks_do_not_say_which_slice_is_drawn(models, tmp_path, monkeypatch):
    scan = Scan(np.zeros((1, 12, 10, 8), dtype=np.float32), modality="CT")
    labels = np.zeros((12, 10, 8), dtype=np.uint8)
    labels[2:6, 3:5, 1:7] = 1  # 48 voxels in two coronal slices
    labels[:, 9, ::2] = 1  # as many in one, but in pieces
    labels[8:10, 4, 2] = 2
    drawn = []
    monkeypatch.setattr(drawing, "montage", lambda rows, **options: drawn.extend(rows))
    monkeypatch.setattr(drawing, "save_png", lambda picture, path: path)
    drawing.draw_labels(sg_hub.from_pretrained(models / "segmentation"), scan, labels, {}, tmp_path / "p.png")
    assert [row.label.split(":")[0] for row in drawn] == ["axial slice 2 of 8", "coronal slice 4 of 10"]


def test_numbers_of_an_atlas_take_no_memory(models, tmp_path):
    """Voxels were counted for every number up to the largest, plane by plane: GiB for those of some millions."""
    scan = Scan(np.zeros((1, 12, 10, 8), dtype=np.float32), modality="CT")
    labels = np.zeros((12, 10, 8), dtype=np.int32)
    labels[2:6, 3:5, 1:7] = 2_000_000
    model = sg_hub.from_pretrained(models / "segmentation")
    tracemalloc.start()
    drawing.draw_labels(model, scan, labels, {"one": 2_000_000}, tmp_path / "p.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20


def test_a_small_class_is_drawn_though_another_is_larger():
    labels = np.zeros((8, 8, 10), np.uint8)
    labels[:, :, 2] = 1  # 64 voxels, and 40 where the small one is
    labels[:5, :, 6] = 1
    labels[6:8, 6:8, 6] = 2
    axial, _ = drawing.views(Scan(np.zeros((1, *labels.shape), dtype=np.float32)))
    assert axial.fullest(labels) == 6
