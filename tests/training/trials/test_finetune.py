"""Weights for a task of one's own: a folder of images becomes a model in the published form."""

import json
import shutil
import tempfile

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

import sg_hub
from sg_hub import Preprocessing, SemanticGenesis2D, SemanticGenesis3D
from sg_hub.cli import main
from tests.training.conftest import SAMPLES
from tests.training.targets.target_folders import lidc_patches, write_csv
from training.data.identity import image_hashes
from training.data.leakage import name_hashes, patient_hashes
from training.targets import in_parts, load_target
from training.trials.finetune import UNFINISHED
from training.trials.training import Training

QUICK = ["settings.steps=2", "settings.validate_every=1", "settings.batch_size=2", 'settings.precision="float32"']


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    origin = {"data": "some scans", "licence": "apache-2.0", "patients": patient_hashes("other", ["x"])}
    SemanticGenesis3D(
        width=2, num_classes=3, norm="batch", preprocessing=Preprocessing(), provenance=origin
    ).save_pretrained(folder / "small3d")
    SemanticGenesis2D(encoder="lcnet_050", decoder_width=4).save_pretrained(folder / "small2d")
    return folder


@pytest.fixture
def scans(tmp_path):
    """A user's folder: scans, label maps of the same names, and a target."""
    root = tmp_path / "mine"
    for kind, source in (("images", "ct"), ("labels", "labels")):
        (root / kind).mkdir(parents=True)
        for name in ("pt_201", "pt_207", "pt_222", "pt_225", "pt_229"):
            shutil.copy(SAMPLES / source / f"{name}.nii.gz", root / kind)
    text = f"""
        reader = "folder"
        name = "mytask"
        root = "{root}"
        head = "segmentation"
        metric = "iou"
        classes = ["cord", "jaw"]
        values = {{ cord = 1, jaw = [4] }}
        background = "others"
        grid = {{ spacing = [8, 8, 6] }}
        settings = {{ patch = [16, 16, 8] }}
    """
    (tmp_path / "mytask.toml").write_text("\n".join(line.strip() for line in text.splitlines()), encoding="utf-8")
    return tmp_path


def test_a_users_scans_become_a_published_model(scans, weights, capsys):
    out = scans / "my-model"
    target = str(scans / "mytask.toml")
    arguments = ["finetune", "--init", str(weights / "small3d"), "--target", target, "--out", str(out), "--quiet"]
    assert main([*arguments, *QUICK]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == str(out)
    assert f"now `sg-hub segment SCAN --model {out}`" in said
    model = sg_hub.from_pretrained(out)
    assert (model.head_name, model.num_classes) == ("segmentation", 3)
    assert model.preprocessing.spacing == (8, 8, 6)
    assert model.preprocessing.input_size == (16, 16, 8)
    scan = sg_hub.load_scan(scans / "mine" / "images" / "pt_201.nii.gz")
    assert sg_hub.predict(model, scan, output="labels", progress=False).shape == scan.size
    card = ModelCard.load(out / "README.md")
    assert card.data.license == "apache-2.0"
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    measured = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert measured == {name: pytest.approx(value, abs=1e-5) for name, value in results["values"].items()}
    assert {"iou cord", "dice jaw"} <= set(measured)
    reached = next(line for line in said if "on the test part" in line)
    assert f"{results['values'][results['target']['metric']]:.3f}; cord " in reached
    trained = {*results["items"]}
    assert trained == {"train", "validation", "test"}
    seen = set(model.provenance["patients"])
    assert seen >= set(patient_hashes("other", ["x"]))
    assert len(seen) == 1 + results["patients"]["train"] + results["patients"]["validation"]
    assert (out / "examples.png").stat().st_size > 5000
    assert (out / "curves.png").stat().st_size > 5000


def test_fine_tuned_weights_are_refused_on_patients_that_they_were_tuned_on(scans, weights, capsys):
    out, target = scans / "my-model", str(scans / "mytask.toml")
    assert main(["finetune", "--init", str(weights / "small3d"), "--target", target, "--out", str(out), *QUICK]) == 0
    again = ["finetune", "--init", str(out), "--target", target, "--out", str(scans / "more"), "splits.seed=3", *QUICK]
    assert main(again) == 2
    assert "pre-training set" in capsys.readouterr().err


def test_weights_of_another_data_set_are_refused_on_the_images_that_they_have_seen(scans, weights, capsys):
    """The same scans under other names, and of a data set that is called otherwise."""
    out, target, fresh = scans / "my-model", str(scans / "mytask.toml"), f"random:{weights / 'small3d'}"
    assert main(["finetune", "--init", fresh, "--target", target, "--out", str(out), *QUICK]) == 0
    known = sg_hub.from_pretrained(out).provenance["images"]
    trained = [item for item in load_target(target).split_items().items if item.split != "test"]
    assert sorted(known) == sorted(one for item in trained for one in image_hashes(item.image))
    for kind in ("images", "labels"):
        for path in sorted((scans / "mine" / kind).iterdir()):
            path.rename(path.with_name(f"case{path.name}"))
    again = ["finetune", "--init", str(out), "--target", target, "--out", str(scans / "more"), *QUICK]
    assert main([*again, "dataset=elsewhere", "name=other", "splits.seed=3"]) == 2
    assert "in the pre-training set of these weights (casept_" in capsys.readouterr().err


# -- stopped, and started again ----------------------------------------------------------------------------------------


def stopped_after(monkeypatch, step):
    """Let a fine-tuning be killed after a step."""
    real = Training.step

    def stopped(self):
        value = real(self)
        if self.progress.step == step:
            raise RuntimeError("killed")
        return value

    monkeypatch.setattr(Training, "step", stopped)


def test_a_killed_fine_tuning_goes_on_and_leaves_nothing_behind(scans, weights, monkeypatch, capsys):
    target, temporary = str(scans / "mytask.toml"), scans / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    arguments = ["finetune", "--init", str(weights / "small3d"), "--target", target, "--quiet", *QUICK]
    out, whole = scans / "my-model", scans / "whole"
    with monkeypatch.context() as patch:
        stopped_after(patch, 2)
        with pytest.raises(RuntimeError, match="killed"):
            main([*arguments, "--out", str(out)])
    assert [path.name for path in out.iterdir()] == [UNFINISHED]  # patients' images, for the next start
    capsys.readouterr()
    assert main([*arguments, "--out", str(out)]) == 0
    assert "goes on after step 1" in capsys.readouterr().out
    assert main([*arguments, "--out", str(whole)]) == 0
    same, other = (sg_hub.from_pretrained(folder).state_dict() for folder in (out, whole))
    assert all(torch.equal(value, other[key]) for key, value in same.items())
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}
    assert UNFINISHED not in {path.name for path in out.iterdir()}
    assert list(temporary.iterdir()) == []


def test_a_killed_fine_tuning_of_other_settings_starts_afresh(scans, weights, monkeypatch, capsys):
    target, out = str(scans / "mytask.toml"), scans / "my-model"
    arguments = ["finetune", "--init", str(weights / "small3d"), "--target", target, "--out", str(out), *QUICK]
    with monkeypatch.context() as patch:
        stopped_after(patch, 2)
        with pytest.raises(RuntimeError, match="killed"):
            main(arguments)
    assert main([*arguments, "settings.lr=0.01"]) == 0
    assert "goes on" not in capsys.readouterr().out


def test_broken_pairs_are_skipped_or_named(scans, weights, capsys):
    root = scans / "mine"
    (root / "labels" / "pt_201.nii.gz").unlink()
    assert main(["targets", str(scans / "mytask.toml")]) == 0
    assert "no label map of its name" in capsys.readouterr().out
    (root / "labels" / "pt_207.nii.gz").write_bytes(b"no scan")
    arguments = ["finetune", "--init", str(weights / "small3d"), "--target", str(scans / "mytask.toml")]
    assert main([*arguments, "--out", str(scans / "out"), *QUICK]) == 2
    assert "pt_207" in capsys.readouterr().err
    assert not (scans / "out").exists(), "patients' images, of which nothing becomes"


def test_what_was_left_out_is_on_record(scans, weights):
    root = scans / "mine"
    (root / "labels" / "pt_201.nii.gz").unlink()
    init, target, out = str(weights / "small3d"), str(scans / "mytask.toml"), scans / "out"
    assert main(["finetune", "--init", init, "--target", target, "--out", str(out), *QUICK]) == 0
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results["skipped"] == name_hashes(["mytask/pt_201"])  # why, and whose, is in a file that stays here
    assert "pt_201" in (scans / "out-items.csv").read_text(encoding="utf-8")
    assert "1 items were left out" in (out / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def pictures(tmp_path):
    """A CSV of classes beside pictures that are not square."""
    rng, rows = np.random.default_rng(0), []
    (tmp_path / "images").mkdir()
    for number in range(24):
        bright = number % 2
        pixels = (rng.integers(0, 100, (30, 50)) + 120 * bright).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"x{number}.png")
        rows.append((f"x{number}.png", ("normal", "ill")[bright], f"p{number // 2}"))
    write_csv(tmp_path / "labels.csv", ("image", "label", "patient"), rows)
    text = f"""reader = "folder"
name = "xrays"
root = "{tmp_path}"
dims = 2
table = "labels.csv"
head = "classification"
metric = "auc"
classes = ["normal", "ill"]
grid = {{ size = [64, 64] }}
"""
    (tmp_path / "xrays.toml").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_csv_of_classes_becomes_a_published_model(pictures, weights):
    out = pictures / "xray-model"
    target = str(pictures / "xrays.toml")
    assert main(["finetune", "--init", str(weights / "small2d"), "--target", target, "--out", str(out), *QUICK]) == 0
    model = sg_hub.from_pretrained(out)
    assert model.provenance["classes"] == ["normal", "ill"]
    assert model.preprocessing.input_size == (64, 64)
    x = model.preprocess(sg_hub.load_image(pictures / "images" / "x0.png"))
    with torch.inference_mode():
        assert model(x).shape == (1, 2)


@pytest.mark.parametrize(
    ("row", "said"),
    [(("x0.png", "sick", "p0"), "'sick'"), (("x0.png", "", "p0"), "expected"), (("x0.png", "ill|normal", "p"), "ill")],
)
def test_labels_that_are_no_class_are_refused(pictures, weights, capsys, row, said):
    write_csv(pictures / "labels.csv", ("image", "label", "patient"), [row])
    assert main(["targets", str(pictures / "xrays.toml")]) == 2
    assert said in capsys.readouterr().err


def test_pictures_with_masks_keep_their_proportions(tmp_path):
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for number in range(8):
        pixels = np.zeros((20, 40), dtype=np.uint8)
        pixels[5:15, 10:30] = 200
        Image.fromarray(pixels).save(tmp_path / "images" / f"a{number}.png")
        Image.fromarray((pixels > 0).astype(np.uint8)).save(tmp_path / "labels" / f"a{number}.png")
    (tmp_path / "t.toml").write_text(
        f'reader = "folder"\nname = "t"\nroot = "{tmp_path}"\ndims = 2\nhead = "segmentation"\nmetric = "dice"\n'
        'classes = ["box"]\ngrid = { size = [80, 80] }\n',
        encoding="utf-8",
    )
    target = load_target(tmp_path / "t.toml")
    loaded = target.load(target.split_items().items[0])
    assert loaded.image.shape == (1, 80, 80)
    assert np.array_equal(loaded.label == 1, loaded.image[0] > 0.4)
    assert int(loaded.label.sum()) == 20 * 40  # twice as large, in the middle
    assert loaded.label[:20].sum() == 0


def test_the_example_that_ships_is_valid():

    target = load_target(SAMPLES.parent / "organs.toml", [f"root={SAMPLES}"])
    found = target.split_items()
    assert {part: len(items) for part, items in in_parts(found.items).items()} == {
        "train": 3,
        "validation": 1,
        "test": 2,
    }
    for item in found.items:
        assert target.load(item).label.max() == 2


# -- new images are treated as the training did ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "grid", ["grid.spacing=[8, 8, 6]", "grid={size=[24, 16, 16]}", "grid={intensity='percentile'}"]
)
def test_scans_are_preprocessed_as_in_training(scans, weights, grid):
    limits = ["grid.low=1", "grid.high=99"] if "percentile" in grid else ["grid.low=-200", "grid.high=300"]
    target, out = str(scans / "mytask.toml"), str(scans / "my-model")
    overrides = [grid, *limits, "settings.patch=[16, 16, 8]", *QUICK]
    assert main(["finetune", "--init", str(weights / "small3d"), "--target", target, "--out", out, *overrides]) == 0
    trained = load_target(target, overrides)
    item = trained.split_items().items[0]
    scan, model = sg_hub.load_scan(item.image), sg_hub.from_pretrained(out)
    assert np.allclose(model.preprocess(scan)[0].numpy(), trained.load(item).image, atol=1e-6)
    assert model.preprocessing.input_size == (16, 16, 8)
    assert sg_hub.predict(model, scan, output="labels", progress=False).shape == scan.size


def test_pictures_are_preprocessed_as_in_training(pictures, weights, capsys):
    """The size of the whole picture counts, not the patch that the training cut from it."""
    (pictures / "labels").mkdir()
    for number in range(24):
        mask = np.zeros((30, 50), dtype=np.uint8)
        mask[5:20, 10:30] = 255
        Image.fromarray(mask).save(pictures / "labels" / f"x{number}.png")
    (pictures / "masks.toml").write_text(
        'reader = "folder"\nname = "masks"\nroot = "."\ndims = 2\nhead = "segmentation"\nmetric = "dice"\n'
        'classes = ["box"]\nvalues = { box = 255 }\ngrid = { size = [64, 96] }\nsettings = { patch = [32, 32] }\n',
        encoding="utf-8",
    )
    target, out = str(pictures / "masks.toml"), str(pictures / "my-model")
    assert main(["finetune", "--init", str(weights / "small2d"), "--target", target, "--out", out, *QUICK]) == 0
    trained = load_target(target)
    item = trained.split_items().items[0]
    image, model = sg_hub.load_image(item.image), sg_hub.from_pretrained(out)
    assert model.preprocessing.input_size == (64, 96)
    assert np.allclose(model.preprocess(image)[0].numpy(), trained.load(item).image, atol=1e-6)
    assert sg_hub.predict(model, image, output="labels").shape == (30, 50)
    sizeless = [*QUICK, "grid={}"]
    assert (
        main(["finetune", "--init", str(weights / "small2d"), "--target", target, "--out", f"{out}2", *sizeless]) == 0
    )
    assert sg_hub.from_pretrained(f"{out}2").preprocessing.input_size == (224, 224), "as the weights expect"
    assert "grid.size = [224, 224], as " in capsys.readouterr().out


def test_grey_pictures_saved_in_colour_are_grey_again(pictures, weights, capsys):
    for path in (pictures / "images").glob("*.png"):
        Image.open(path).convert("RGB").save(path)
    init, target, out = str(weights / "small2d"), str(pictures / "xrays.toml"), str(pictures / "my-model")
    assert main(["finetune", "--init", init, "--target", target, "--out", out, *QUICK]) == 0
    trained, model = load_target(target), sg_hub.from_pretrained(out)
    item = trained.split_items().items[0]
    assert trained.load(item).image.shape == (1, 64, 64)
    assert np.allclose(model.preprocess(sg_hub.load_image(item.image))[0].numpy(), trained.load(item).image, atol=1e-6)
    Image.fromarray(np.full((30, 50, 3), (200, 20, 20), dtype=np.uint8)).save(item.image)
    with pytest.raises(sg_hub.SgHubError, match="3 channels"):
        trained.load(item)


def test_what_a_saved_model_cannot_say_is_refused(weights, tmp_path, capsys):
    lidc_patches(tmp_path / "lidc", patients=12)
    init, root = str(weights / "small2d"), f"root={tmp_path / 'lidc'}"
    arguments = ["finetune", "--init", init, "--target", "lidc-nodules-2d", "--out", str(tmp_path / "out"), root]
    assert main([*arguments, "crop=16"]) == 2
    assert "use a 3D network" in capsys.readouterr().err


def test_a_folder_of_other_things_is_not_written_to(pictures, weights, capsys):
    init, target = str(weights / "small2d"), str(pictures / "xrays.toml")
    assert main(["finetune", "--init", init, "--target", target, "--out", str(pictures), *QUICK]) == 2
    assert "was not written by this command" in capsys.readouterr().err
    assert not (pictures / "README.md").exists()


def test_unknown_patients_stay_unknown(scans, tmp_path, capsys):
    """Of weights that do not say whom they have seen, fine-tuning does not make weights that do."""
    SemanticGenesis3D(width=2, num_classes=3, norm="batch_stats", preprocessing=Preprocessing()).save_pretrained(
        tmp_path / "unknown"
    )
    target, out = str(scans / "mytask.toml"), tmp_path / "model"
    assert main(["finetune", "--init", str(tmp_path / "unknown"), "--target", target, "--out", str(out), *QUICK]) == 0
    assert "warning: " in capsys.readouterr().out
    model = sg_hub.from_pretrained(out)
    assert "patients" not in model.provenance
    assert model.norm == "batch"  # a scan's result does not depend on what is beside it
    assert "do not say" in json.loads((out / "results.json").read_text(encoding="utf-8"))["unchecked"]
