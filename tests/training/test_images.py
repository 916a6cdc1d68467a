"""The whole training path in 2D, on the sample X-rays."""

import csv
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

import sg_hub
from sg_hub import InvalidInputError, ReadError
from tests.folders import DEMO_SAMPLES
from tests.sg_hub.io.xray_files import write_xray
from training.data.leakage import patient_hashes
from training.data.prepare import prepare, store_path
from training.data.store import Store
from training.discovery.cubes import PatternDataset
from training.discovery.discover import discover, table_path
from training.discovery.patterns import PatternTable
from training.pretraining.autoencode import autoencode
from training.pretraining.evaluate import evaluate
from training.pretraining.pretrain import pretrain
from training.pretraining.show_transforms import show_transforms
from training.publishing.publish import publish
from training.run.recipe import Recipe, load_recipe
from training.targets import load_target

XRAYS = DEMO_SAMPLES / "chestxray14" / "images"
SMALL = (
    "model.encoder=lcnet_035",
    "model.decoder_width=2",
    "prepare.workers=1",
    "prepare.size=[64, 64]",
    "prepare.chunk=[64, 64]",
    "autoencode.size=[32, 32]",
    "autoencode.epochs=1",
    "discover.patterns=3",
    "discover.neighbours=4",
    "discover.cube=[24, 24]",
    "discover.in_plane=[20, 30]",
    "discover.resolutions=2",
    "pretrain.batch_size=4",
    "method.classification_epochs=1",
    "pretrain.epochs=2",
)


def small(run, *overrides):
    return load_recipe("demo-2d", [f"source={XRAYS}", f"run={run}", *SMALL, *overrides])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder with everything but the publication."""
    run = tmp_path_factory.mktemp("images") / "run"
    recipe = small(run)
    for step in (prepare, autoencode, discover, pretrain, evaluate):
        step(recipe, progress=False)
    show_transforms(recipe)
    return run


# -- prepare ----------------------------------------------------------------------------------------------------


def test_the_store_holds_grey_levels_and_says_whose_they_are(trained):
    store = Store.open(store_path(small(trained)))
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
    recipe = small(tmp_path / "run", f"source={tmp_path}/images", "patient=([a-z])[.]?[a-z]*$")
    summary = prepare(recipe, progress=False)
    store = Store.open(store_path(recipe))
    assert store.names() == list("abcde")
    assert list(summary.skipped) == ["deep/f.png"]
    assert "5 images of 5 patients" in str(summary)
    assert {patient.shape for patient in store.patients} == {(43, 64)}
    assert {patient.channels for patient in store.patients} == {1}
    np.testing.assert_allclose(store.whole("a"), store.whole("c"), atol=1)
    np.testing.assert_allclose(store.whole("d"), 4095 - store.whole("e"), atol=1)


def write_csv(path, rows, columns=("image", "patient", "split")):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def test_a_split_by_image_or_by_patient(tmp_path):
    names = sorted(path.name for path in XRAYS.glob("*.png"))
    tested = {name[:8] for name in names[:4]}
    rows = [(n, n[:8], "test" if n[:8] in tested else "train") for n in names[1:]]
    by_image = write_csv(tmp_path / "images.csv", rows)
    recipe = small(tmp_path / "run", f"split={by_image}")
    summary = prepare(recipe, progress=False)
    assert list(summary.skipped) == [names[0]]
    persons = sorted({str(int(name[:8])) for name in names})
    rows = [(person, "test" if person in persons[:3] else "train") for person in persons]
    by_patient = write_csv(tmp_path / "patients.csv", rows, ("patient", "split"))
    recipe = small(tmp_path / "other", f"split={by_patient}")
    prepare(recipe, progress=False)
    store = Store.open(store_path(recipe))
    assert store.persons("test") == persons[:3]


def test_a_patient_in_two_splits_is_refused(tmp_path):
    names = sorted(path.name for path in XRAYS.glob("*.png"))
    several = next(a for a, b in itertools.pairwise(names) if a[:8] == b[:8])
    rows = [(n, n[:8], "test" if n == several else "train") for n in names]
    recipe = small(tmp_path / "run", f"split={write_csv(tmp_path / 'split.csv', rows)}")
    with pytest.raises(InvalidInputError, match="patients are split, not images"):
        prepare(recipe, progress=False)


def test_splits_that_contradict_themselves_are_refused(tmp_path):
    names = sorted(path.name for path in XRAYS.glob("*.png"))
    several = next(a for a, b in itertools.pairwise(names) if a[:8] == b[:8])
    # Other patients in the CSV than in the path, so that one patient of the path is in two parts.
    rows = [(n, n, "test" if n == several else "train") for n in names]
    with pytest.raises(InvalidInputError, match="by its path"):
        prepare(small(tmp_path / "a", f"split={write_csv(tmp_path / 'a.csv', rows)}"), progress=False)
    rows = [(n, n[:8], "train") for n in names] + [(names[0].removesuffix(".png"), names[0][:8], "test")]
    with pytest.raises(InvalidInputError, match="several splits"):
        prepare(small(tmp_path / "b", f"split={write_csv(tmp_path / 'b.csv', rows)}"), progress=False)


def test_whose_an_image_is_must_be_said(tmp_path):
    settings = small(tmp_path / "run").model_dump() | {"patient": None}
    with pytest.raises(InvalidInputError, match="whose an image is"):
        prepare(Recipe.model_validate(settings), progress=False)


def test_the_patients_of_the_recipes_are_those_of_the_target(trained):
    targets = {item.patient for item in load_target("dxc", [f"root={fake_chestxray14(trained)}"]).find().items}
    assert targets == set(Store.open(store_path(small(trained))).persons("train")) & targets != set()


def fake_chestxray14(run):
    """ChestX-ray14 as it is downloaded, of the sample images."""
    root = run.parent / "ChestX-ray14"
    images = root / "images_001" / "images"
    images.mkdir(parents=True, exist_ok=True)
    names = [p.name + ".png" for p in Store.open(store_path(small(run))).patients if p.split == "train"]
    for name in names:
        shutil.copy(XRAYS / name, images)
    lines = ["Image Index,Finding Labels,Follow-up #,Patient ID", *(f"{n},Mass,0,{int(n[:8])}" for n in names)]
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "train_val_list.txt").write_text("\n".join(names[1:]) + "\n", encoding="utf-8")
    (root / "test_list.txt").write_text(names[0] + "\n", encoding="utf-8")
    return root


def test_images_whose_patient_cannot_be_told_are_skipped(tmp_path):
    with pytest.raises(ReadError, match="does not match its path"):
        prepare(small(tmp_path / "run", "patient=(patient[0-9]+)/"), progress=False)


@pytest.mark.parametrize("pattern", ["[0-9]+", "([0-9"])
def test_patient_patterns_that_mean_nothing(tmp_path, pattern):
    with pytest.raises(InvalidInputError, match="patient"):
        small(tmp_path / "run", f"patient={pattern}")


@pytest.mark.parametrize(
    "override",
    ["discover.cube=[24, 24, 24]", "pretrain.size=[32, 40]", "autoencode.size=[16, 16]", "discover.border=[0.1]"],
)
def test_sizes_that_do_not_fit_the_network(tmp_path, override):
    with pytest.raises(InvalidInputError, match=override.partition("=")[0]):
        small(tmp_path / "run", override)


def test_no_images(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="no images below"):
        prepare(small(tmp_path / "run", f"source={tmp_path}/empty"), progress=False)


# -- discover, pretrain, publish --------------------------------------------------------------------------------


def test_patterns_are_places_that_images_share(trained):
    recipe = small(trained)
    store, table = Store.open(store_path(recipe)), PatternTable.load(table_path(recipe))
    assert table.corner.shape == (len(table), 2)
    shapes = np.array([store.shape(table.patients[p]) for p in table.patient])
    assert (table.corner >= 0).all()
    assert (table.corner + table.size <= shapes).all()
    for pattern in range(table.classes):
        base = (table.pattern == pattern) & (table.resolution == 0)
        centres = (table.corner[base] + table.size[base] / 2) / shapes[base]
        assert np.ptp(centres, axis=0).max() < 0.02  # the same fraction of every image
    data = PatternDataset(table, store, table.rows("train"), recipe.pretrain.size)
    patch, label = data[1]
    assert patch.shape == (1, 32, 32)
    assert 0 <= patch.min() < patch.max() <= 1
    assert label == table.pattern[table.rows("train")[1]]


def test_same_seed_same_weights(trained, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(trained, again, ignore=shutil.ignore_patterns("pretraining", "pretrain.json"))
    pretrain(small(again), progress=False)
    first, second = (sg_hub.from_pretrained(run / "pretraining" / "model") for run in (trained, again))
    for key, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[key], value), key


def test_published_weights_load_and_the_card_says_what_they_are(trained, tmp_path):
    folder = publish(small(trained), tmp_path / "cards")
    model = sg_hub.from_pretrained(folder, head="segmentation", num_classes=2)
    assert type(model) is sg_hub.SemanticGenesis2D
    assert model.preprocessing.input_size == (64, 64)
    store = Store.open(store_path(small(trained)))
    persons = store.persons("train") + store.persons("validation")
    assert model.provenance["patients"] == patient_hashes("chestxray14", persons)
    card = (folder / "README.md").read_text(encoding="utf-8")
    for part in ("sg_hub.load_image", "(N, C, H, W)", "lcnet_035", "images) to train on", "- 2d", "patches"):
        assert part in card
    registry = json.loads((tmp_path / "cards" / "registry.json").read_text(encoding="utf-8"))
    assert registry["demo-2d"]["architecture"] == "SemanticGenesis2D"


def test_pictures_are_drawn(trained):
    for picture in (
        "autoencoder/reconstructions.png",
        "discovery/patterns.png",
        "pretraining/restorations.png",
        "pretraining/curves.png",
        "restorations.png",
        "transforms.png",
    ):
        with PillowImage.open(trained / picture) as opened:
            assert len(np.unique(np.asarray(opened.convert("L")))) > 50, picture
