"""A target's images as files, which a pre-training takes: the same numbers, and the same patients in its parts."""

import csv
import dataclasses

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
from training.targets.items import LoadedItem


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


def test_two_items_of_one_file(lidc, tmp_path):
    target = load_target("lidc-candidates", [f"root={lidc}"])
    items = target.split_items().items
    twins = [dataclasses.replace(items[0], name="a/b"), dataclasses.replace(items[1], name="A_b")]
    with pytest.raises(InvalidInputError, match="2 items would be the file"):
        export_images(target, twins, tmp_path / "out", progress=False)


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("lidc-nodules-2d", [], "slices for a 2D network"),
        ("openkbp-organs", ["grid.spacing=own"], "keep their own spacing"),
    ],
)
def test_what_cannot_be_written(name, change, match, lidc, tmp_path):
    target = load_target(name, [f"root={lidc}", *change])
    with pytest.raises(InvalidInputError, match=match):
        export_images(target, [], tmp_path / "out", progress=False)


@pytest.mark.parametrize("window", [("window", 0.0, 1.0), ("window", 0.0, 60000.0), ("zscore", -3.0, 3.0)])
def test_any_range_comes_back(window, lidc, tmp_path, monkeypatch):
    intensity, low, high = window
    target = load_target("lidc-candidates", [f"root={lidc}"])
    target = target.model_copy(
        update={"grid": type(target.grid)(intensity=intensity, low=low, high=high, size=(4, 4, 4))}
    )
    lowest, highest = target.grid.of_scans().values
    image = np.linspace(lowest, highest, 64, dtype=np.float32).reshape(1, 4, 4, 4)
    monkeypatch.setattr(type(target), "load", lambda self, item: LoadedItem(image, np.array(0)))
    item = target.split_items().items[0]
    folder = export_images(target, [item], tmp_path / "out", progress=False)
    written = load_scan(next(folder.glob("*.nii.gz"))).array
    np.testing.assert_allclose((written + 1000) / 2000, (image - lowest) / (highest - lowest), atol=0.0003)


def test_a_target_has_to_be_named(tmp_path, capsys):
    assert main(["targets", "--images", str(tmp_path / "out")]) == 2
    assert "name it" in capsys.readouterr().err
