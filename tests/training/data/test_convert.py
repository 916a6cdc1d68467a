"""One scan or image into the store, and many of them side by side."""

from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

import sg_hub
from sg_hub import load_scan
from sg_hub.errors import ReadError
from sg_hub.preprocessing.steps import resize
from tests.sg_hub.io.xray_files import write_xray
from tests.training.conftest import XRAYS, small_images
from tests.training.scan_files import SIZE, write_scan
from training.data import convert as module
from training.data.identity import image_hashes
from training.data.prepare import prepare, store_path
from training.data.store import Store
from training.run.recipe import Recipe


def test_resampling_is_the_networks(recipe, source):
    changed = recipe("prepare.spacing=[3.0, 4.0, 2.0]", "prepare.window=[-200.0, 300.0]")
    prepare(changed, progress=False)
    store = Store.open(store_path(changed))
    assert store.shape("a") == (13, 8, 18)
    array = torch.from_numpy(load_scan(source / "a.nii.gz").array).clamp(-200, 300)
    expected = resize(array[None], (13, 8, 18))[0].round().numpy()
    np.testing.assert_array_equal(store.whole("a"), expected)
    assert store.patients[0].spacing == (3.0, 4.0, 2.0)


def test_own_spacing(recipe, source):
    write_scan(source / "g.nrrd", spacing=(1.5, 0.7031250001, 5.0))
    settings = recipe().model_dump()
    settings["prepare"]["spacing"] = None
    own = Recipe.model_validate(settings)
    summary = prepare(own, progress=False)
    store = Store.open(store_path(own))
    assert store.spacing is None
    assert store.shape("g") == SIZE
    assert store.patients[-1].spacing == pytest.approx((1.5, 0.703125, 5.0))
    assert "spacing 1.5 x 0.7031 x 3 to 2 x 2 x 5 mm" in str(summary)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 12), (2000, 5000), (-5, 5)])
def test_a_scan_of_which_hardly_anything_would_be_left_is_skipped(recipe, source, low, high):
    values = np.random.default_rng(0).uniform(low, high, (1, 20, 20, 10)).astype(np.float32)
    sg_hub.Scan(values).save(values, source / "g.nii.gz")
    summary = prepare(recipe(), progress=False)
    assert "hardly anything is left" in summary.skipped["g.nii.gz"]
    assert [item.name for item in summary.kept] == ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize(("window", "said"), [("-1000, 1000", True), ("0, 500", False)])
def test_a_scan_that_fits_the_window_of_ct_and_is_none_is_said(recipe, source, caplog, window, said):
    values = np.random.default_rng(0).uniform(0, 400, (1, 20, 20, 10)).astype(np.float32)
    sg_hub.Scan(values).save(values, source / "g.nii.gz")
    summary = prepare(recipe(f"prepare.window=[{window}]"), progress=False)
    assert "g" in [item.name for item in summary.kept]
    warned = [record.getMessage() for record in caplog.records if "is it a scan in HU?" in record.getMessage()]
    assert ["g.nii.gz: no voxel is below 0" in text for text in warned] == [True] * said


def test_serial_leaves_the_threads_alone(recipe):
    torch.set_num_threads(2)
    prepare(recipe(), progress=False)
    assert torch.get_num_threads() == 2


def test_an_error_that_nobody_foresaw_skips_the_scan(recipe, monkeypatch):
    def load(path):
        if path.endswith("b.nii.gz"):
            raise RuntimeError("inside the reader")
        return load_scan(path)

    monkeypatch.setattr(module, "load_scan", load)
    summary = prepare(recipe(), progress=False)
    assert summary.skipped == {"b.nii.gz": "RuntimeError: inside the reader"}
    assert len(summary.kept) == 5


def test_a_scan_that_kills_its_reader(recipe, monkeypatch):
    calls = []

    def in_processes(workers, items, url, settings):
        calls.append([item.name for item in items])
        for item in items:
            if item.name == "c":
                raise BrokenProcessPool("a child process terminated abruptly")
            yield module.convert(item, url, settings)

    monkeypatch.setattr(module, "_in_processes", in_processes)
    summary = prepare(recipe("prepare.workers=2"), progress=False)
    assert [p.name for p in summary.kept] == list("abdef")
    assert "the process that read it was killed" in summary.skipped["c.nii.gz"]
    assert calls == [list("abcdef"), ["c"], ["d"], ["e", "f"]]


def test_no_room(recipe, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(ReadError, match=r"cannot be written .*No space left.*make room"):
        prepare(recipe(), progress=False)


def test_the_store_holds_grey_levels_and_says_whose_they_are(trained_images):
    store = Store.open(store_path(small_images(trained_images)))
    assert store.ndim == 2
    assert store.window == (0, 4095)
    assert len(store.names()) == 12
    owners = {item.name: item.patient for item in store.items}
    assert all(person == str(int(name[:8])) for name, person in owners.items())
    assert len(set(owners.values())) == 10
    for split in ("train", "validation"):
        others = {p.patient for p in store.items if p.split != split}
        assert not set(store.persons(split)) & others
    name = store.names()[0]
    wanted = sg_hub.ImagePreprocessing(input_size=(64, 64)).fit(sg_hub.load_image(XRAYS / f"{name}.png"))[0] * 4095
    np.testing.assert_allclose(store.whole(name), wanted.numpy(), atol=0.5)
    np.testing.assert_array_equal(store.crop(name, (3, 5), (8, 9)), store.whole(name)[:, 3:11, 5:14])


def test_all_kinds_of_images_and_a_broken_one(tmp_path):
    folder = tmp_path / "images" / "deep"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8)
    PillowImage.fromarray(pixels).save(folder / "a.png")
    PillowImage.fromarray(np.stack([pixels, pixels, 255 - pixels], -1)).save(folder / "b.jpg")
    PillowImage.fromarray(pixels.astype(np.uint16) * 257).save(folder / "c.tif")
    write_xray(folder / "d.dcm", pixels.astype(np.uint16) * 16)
    write_xray(folder / "e", pixels.astype(np.uint16) * 16, PhotometricInterpretation="MONOCHROME1")
    (folder / "f.png").write_bytes(b"broken")
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    recipe = small_images(tmp_path / "run", f"source={tmp_path}/images", "patient=([a-z])[.]?[a-z]*$")
    summary = prepare(recipe, progress=False)
    store = Store.open(store_path(recipe))
    assert store.names() == list("abcde")
    assert list(summary.skipped) == ["deep/f.png"]
    assert "5 images of 5 patients" in str(summary)
    assert {patient.shape for patient in store.patients} == {(43, 64)}
    assert {patient.channels for patient in store.patients} == {1}
    np.testing.assert_allclose(store.whole("a"), store.whole("c"), atol=1)
    np.testing.assert_allclose(store.whole("d"), 4095 - store.whole("e"), atol=1)


def test_an_image_is_known_by_what_its_file_says_whatever_bits_are_given(tmp_path, caplog):
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 4096, (96, 96)).astype(np.uint16)
        PillowImage.fromarray(pixels).save(tmp_path / f"{number}.png")
    given = [f"source={tmp_path}", "patient=(.*)", "prepare.bits=12"]
    recipe = small_images(tmp_path / "run", *given)
    prepare(recipe, progress=False)
    assert "does it hold 12 bits" not in caplog.text
    stored = Store.open(store_path(recipe)).items
    assert [item.images for item in stored] == [image_hashes(tmp_path / item.source, 2) for item in stored]
    assert Store.open(store_path(recipe)).whole(stored[0].name).max() > 900, "it is as bright as 12 bits say"
