"""A target's images as files, which a pre-training takes: the same numbers, and the same patients in its parts."""

import csv

import numpy as np
import pytest

from sg_hub import load_image, load_scan
from sg_hub.cli import main
from sg_hub.errors import InvalidInputError
from tests.training.scan_files import recipe_of
from tests.training.targets.target_folders import lidc_patches
from training.data.prepare import prepare, store_path
from training.data.store import Store
from training.targets import load_target
from training.targets.export import export_images


@pytest.fixture(scope="module")
def lidc(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lidc")
    lidc_patches(folder, patients=12)
    return folder


def test_images_are_those_of_the_target_and_are_trained_on_without_its_test_patients(lidc, tmp_path):
    target = load_target("lidc-candidates", [f"root={lidc}"])
    items = target.split_items().items
    folder = export_images(target, items, tmp_path / "out", progress=False)
    for item in items:
        scan = load_scan(folder / f"lidc-candidates_{item.name}.nii.gz")
        low, high = target.grid.of_scans().low, target.grid.of_scans().high
        np.testing.assert_allclose((scan.array - low) / (high - low), target.load(item).image, atol=0.51 / (high - low))
    recipe = recipe_of(folder, tmp_path / "run", f"split={folder}/split.csv", "prepare.spacing=[1.0, 1.0, 1.0]")
    prepare(recipe, progress=False)
    store = Store.open(store_path(recipe))
    for part in ("train", "validation", "test"):
        assert store.persons(part) == sorted({item.patient for item in items if item.split == part}) != []


def test_pictures(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "images.npz",
        image=rng.integers(0, 256, (40, 32, 32), dtype=np.uint8),
        label=rng.random((40, 14)) < 0.5,
        patient=np.arange(40),
        name=np.array([f"{number:08d}_000.png" for number in range(40)]),
        classes=np.array(load_target("chestxray14-subset").classes),
    )
    target = load_target("chestxray14-subset", [f"root={tmp_path}", "splits.file=absent", "grid.size=[32,32]"])
    items = target.find().items[:5]
    folder = export_images(target, items, tmp_path / "out", progress=False)
    for item in items:
        written = load_image(folder / f"chestxray14-subset_{item.name}.png")
        np.testing.assert_allclose(written.array, target.load(item).image, atol=1e-5)


def test_by_the_command(lidc, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["targets", "lidc-nodules", f"root={lidc}", "--images", str(out), "--quiet"]) == 0
    assert f"{out}: the images, and split.csv" in capsys.readouterr().out
    with open(out / "split.csv", encoding="utf-8") as file:
        assert {row["image"] for row in csv.DictReader(file)} == {p.name[:-7] for p in out.glob("*.nii.gz")} != set()
    assert main(["targets", "lidc-nodules", f"root={lidc}", "--images", str(out), "--quiet"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_nothing_is_left_of_what_failed(lidc, tmp_path, monkeypatch):
    target = load_target("lidc-candidates", [f"root={lidc}"])

    def fails(item):
        raise InvalidInputError("damaged")

    monkeypatch.setattr(type(target), "load", lambda self, item: fails(item))
    with pytest.raises(InvalidInputError, match="damaged"):
        export_images(target, target.split_items().items, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
