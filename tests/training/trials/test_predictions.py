"""Predictions of a fine-tuned model: kept on request, and scored like those of anybody else."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sg_hub import ImagePreprocessing, Preprocessing, SemanticGenesis2D, SemanticGenesis3D
from sg_hub.cli import main
from sg_hub.errors import InvalidInputError
from tests.training.targets.target_folders import write_csv, write_scan
from training.targets import load_target
from training.trials.class_metrics import item_row
from training.trials.finetune import RISING, Finetuned
from training.trials.predictions import score_predictions
from training.trials.trial import late_rise

QUICK = ["settings.steps=2", "settings.validate_every=1", "settings.batch_size=2", 'settings.precision="float32"']
SPACING = (2.0, 2.0, 3.0)


def labels_of(number):
    labels = np.zeros((12, 12, 8), np.uint8)
    labels[2 + number % 3 : 8, 2:9, 2:6], labels[8:10, 2:9, 2:6] = 3, 7
    return labels


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """A target of eight scans whose label maps hold 3 and 7, and small weights."""
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        labels = labels_of(number)
        write_scan(tmp_path / "data" / "images" / f"{number}.nii.gz", labels.astype(np.int16) * 90 - 400, SPACING)
        write_scan(tmp_path / "data" / "labels" / f"{number}.nii.gz", labels, SPACING)
    (tmp_path / "mine.toml").write_text(
        'reader = "folder"\nname = "mine"\nroot = "data"\nhead = "segmentation"\nmetric = "dice"\n'
        'classes = ["a", "b"]\nvalues = { a = 3, b = 7 }\n',
        encoding="utf-8",
    )
    torch.manual_seed(0)
    SemanticGenesis3D(width=2, preprocessing=Preprocessing(input_size=(8, 8, 8))).save_pretrained("start")
    return tmp_path


def finetune(*more):
    given = ["finetune", "--init", "./start", "--target", "mine.toml", "--out", "model", "--quiet"]
    return main([*given, *more, *QUICK])


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_test_predictions_are_kept_and_scored(scans, capsys):
    assert finetune("--predictions", "kept") == 0
    tested = [item.name for item in load_target("mine.toml").split_items().items if item.split == "test"]
    assert sorted(path.name for path in Path("kept").iterdir()) == sorted(f"{name}.nii.gz" for name in tested)
    metrics = table("model/metrics.csv")
    assert [row["class"] for row in metrics] == ["a", "b"]
    assert {"dice", "iou", "surface_voxels", "surface95_voxels"} < {*metrics[0]}
    assert "metrics.csv" in Path("model/README.md").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["score", "kept", "mine.toml", "--out", "scores.csv", "--quiet"]) == 0
    assert [row["class"] for row in table("scores.csv")] == ["a", "b"]
    assert f"{len(tested)} items\n" in capsys.readouterr().out


def test_perfect_predictions_have_perfect_scores(scans, capsys):
    for number in range(4):
        labels = labels_of(number)
        write_scan(scans / "maps" / f"{number}.nii.gz", (labels == 3) + 2 * (labels == 7).astype(np.uint8), SPACING)
    assert main(["score", "maps", "mine.toml", "--part", "all", "--out", "s.csv", "--quiet"]) == 0
    assert "4 items, 4 without a prediction, such as 4" in capsys.readouterr().out
    for row in table("s.csv"):
        assert (row["items"], row["missed"], row["dice"], row["surface_mm"]) == ("4", "0", "1", "0")


def test_predictions_in_the_numbers_of_the_target(scans, capsys):
    text = score_predictions("data/labels", "mine.toml", part="all", numbers="target", progress=False)[0]
    assert [row["dice"] for row in csv.DictReader(text.splitlines())] == ["1", "1"]
    with pytest.raises(InvalidInputError, match=r"holds the number 7: .*\(3 a, 7 b\) say so: --numbers target"):
        score_predictions("data/labels", "mine.toml", part="all", progress=False)
    turned = ["values={ a = 2, b = 1 }", 'background="others"']  # such numbers may be either
    capsys.readouterr()
    score_predictions(
        "data/labels", "mine.toml", [*turned, "values={ a = 7, b = 3 }"], "all", numbers="target", progress=False
    )
    assert capsys.readouterr().err == ""
    for number in range(8):
        write_scan(scans / "data" / "labels" / f"{number}.nii.gz", (labels_of(number) > 0).astype(np.uint8), SPACING)
    score_predictions("data/labels", "mine.toml", turned, "all", progress=False)
    assert "note: 1 is a and so on; of predictions in the numbers" in capsys.readouterr().err


def test_predictions_lie_where_the_images_do(scans):
    """Label maps of which only the order of voxels counts, whose own headers mean another grid."""
    for number in range(8):
        labels = labels_of(number)
        own = {"spacing": (1.0, 1.0, 1.0), "direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1)}
        write_scan(scans / "data" / "labels" / f"{number}.nii.gz", labels, **own)
        write_scan(scans / "maps" / f"{number}.nii.gz", (labels == 3) + 2 * (labels == 7).astype(np.uint8), SPACING)
    with pytest.raises(InvalidInputError, match=r"maps/0\.nii\.gz lies elsewhere than .*labels/0\.nii\.gz"):
        score_predictions("maps", "mine.toml", part="all", progress=False)
    text, scored, _ = score_predictions("maps", "mine.toml", ["same_voxels=true"], part="all", progress=False)
    rows = list(csv.DictReader(text.splitlines()))
    assert (scored, [(row["dice"], row["surface_mm"]) for row in rows]) == (8, [("1", "0"), ("1", "0")])
    moved = np.roll((labels_of(0) == 3).astype(np.uint8), 1, 0)
    write_scan(scans / "maps" / "0.nii.gz", moved, SPACING)
    text = score_predictions("maps", "mine.toml", ["same_voxels=true"], part="all", progress=False)[0]
    expected = item_row("0", moved, (labels_of(0) == 3).astype(np.uint8), 2, SPACING)["surface"][0] / 8
    assert float(next(csv.DictReader(text.splitlines()))["surface_mm"]) == pytest.approx(expected, rel=1e-3)


def test_predictions_that_cannot_be_scored_are_said(scans, capsys):
    def said(*arguments):
        assert main(["score", *arguments, "--quiet"]) == 2
        return capsys.readouterr().err

    assert "gone is not there" in said("gone", "mine.toml")
    (scans / "maps").mkdir()
    assert "holds no prediction of the" in said("maps", "mine.toml", "--part", "all")
    write_scan(scans / "maps" / "0.nii.gz", labels_of(0), SPACING)
    assert "holds the number 7: expected 0 (background) to 2" in said("maps", "mine.toml", "--part", "all")
    write_scan(scans / "maps" / "0.nii.gz", np.zeros((3, 3, 3), np.uint8))
    assert "has size (3, 3, 3), the label map" in said("maps", "mine.toml", "--part", "all")


def test_predictions_name_patients_and_are_not_kept_in_the_model(scans, capsys):
    assert finetune("--predictions", "model/kept") == 2
    assert "names no patient" in capsys.readouterr().err


def test_a_prediction_is_of_one_item(scans, capsys):
    for number in (0, 1):
        for kind in ("images", "labels"):
            (scans / "data" / kind / f"p{number}").mkdir()
            (scans / "data" / kind / f"{number}.nii.gz").rename(scans / "data" / kind / f"p{number}" / "ct.nii.gz")
    write_scan(scans / "maps" / "ct.nii.gz", np.ones((12, 12, 8), np.uint8))
    assert main(["score", "maps", "mine.toml", "--part", "all", "--quiet"]) == 2
    assert "ct may be the prediction of p0/ct or of p1/ct: call each as its item is" in capsys.readouterr().err
    for kind in ("images", "labels"):
        (scans / "data" / kind / "2.nii.gz").rename(scans / "data" / kind / "p1-ct.nii.gz")
    assert finetune("--predictions", "kept") == 2
    assert "the predictions of p1-ct and p1/ct would have one name" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["data/images", "data/labels", "data/labels/new"])
def test_predictions_replace_no_files_of_the_target(scans, folder, capsys):
    before = {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()}
    assert finetune("--predictions", folder) == 2
    assert "holds the target's own files, which would be replaced" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()} == before
    assert not Path("model").exists()


def test_a_classification_is_scored_by_what_classify_wrote(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng, rows = np.random.default_rng(0), []
    (tmp_path / "data" / "images").mkdir(parents=True)
    for number in range(16):
        pixels = rng.integers(0, 100, (32, 32)) + 100 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "data" / "images" / f"{number}.png")
        rows.append((f"{number}.png", ("dark", "bright")[number % 2]))
    write_csv(tmp_path / "data" / "t.csv", ("image", "label"), rows)
    (tmp_path / "mine.toml").write_text(
        'reader = "folder"\nname = "mine"\nroot = "data"\ntable = "t.csv"\nhead = "classification"\nmetric = "auc"\n'
        'classes = ["dark", "bright"]\n',
        encoding="utf-8",
    )
    start = ImagePreprocessing(input_size=(32, 32))
    SemanticGenesis2D(encoder="lcnet_035", decoder_width=2, preprocessing=start).save_pretrained("start")
    assert finetune("--predictions", "kept", "splits.validation=0.3") == 0
    assert [row["class"] for row in table("model/metrics.csv")] == ["dark", "bright"]
    assert main(["score", "kept", "mine.toml", "splits.validation=0.3", "--out", "kept.csv", "--quiet"]) == 0
    assert main(["classify", "data/images", "--model", "./model", "--out", "all.csv", "--quiet"]) == 0
    assert main(["score", "all.csv", "mine.toml", "splits.validation=0.3", "--out", "all-scores.csv", "--quiet"]) == 0
    assert table("kept.csv") == table("all-scores.csv")
    for read in ("all.csv", "data/t.csv"):
        before = Path(read).read_bytes()
        assert main(["score", "all.csv", "mine.toml", "--out", read, "--quiet"]) == 2
        assert "is read, and would be lost" in capsys.readouterr().err
        assert Path(read).read_bytes() == before
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "sg_hub.classify(model, scan)" in card
    assert "sg-hub classify FILE --model ./model" in card


@pytest.fixture
def sites(tmp_path, monkeypatch):
    """A classification whose images have the same names at two sites: A is tested, B trained on."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for site in "AB":
        (tmp_path / "data" / "images" / site).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "data" / "images" / site / f"{number}.png")
            part = "test" if site == "A" else ("train", "validation")[number // 2]
            rows.append((f"{site}/{number}.png", ("no", "yes")[(number + (site == "B")) % 2], part))
    write_csv(tmp_path / "data" / "t.csv", ("image", "label", "split"), rows)
    (tmp_path / "mine.toml").write_text(
        'reader = "folder"\nname = "mine"\nroot = "data"\ntable = "t.csv"\nhead = "classification"\nmetric = "auc"\n'
        'classes = ["no", "yes"]\n',
        encoding="utf-8",
    )
    return tmp_path


def probabilities(*places):
    """Rows of a table of perfect probabilities: of each file, and the item that it is."""
    rows = []
    for place, item in places:
        yes = (int(item[-1]) + item.startswith("B")) % 2
        rows.append((place, 1 - yes, yes))
    return rows


@pytest.mark.parametrize("where", ["data/images/{}.png", "{}", "/elsewhere/{}.png"])
def test_images_of_one_name_in_two_folders_have_probabilities_of_their_own(sites, where):
    items = [f"{site}/{number}" for site in "AB" for number in range(4)]
    write_csv(sites / "p.csv", ("scan", "no", "yes"), probabilities(*((where.format(item), item) for item in items)))
    table, scored, missing = score_predictions("p.csv", "mine.toml", progress=False)
    assert (table.splitlines()[1:], scored, missing) == (["no,4,2,1", "yes,4,2,1"], 4, [])


def test_probabilities_of_another_folder_are_no_items(sites):
    """The test images were forgotten: those of the other site are not taken for them."""
    write_csv(sites / "p.csv", ("scan", "no", "yes"), probabilities(*((f"B/{n}.png", f"B/{n}") for n in range(4))))
    with pytest.raises(InvalidInputError, match="holds no prediction of the 4 items"):
        score_predictions("p.csv", "mine.toml", progress=False)
    flat = [(f"copies/{n}.png", f"A/{n}") for n in range(4)]
    write_csv(sites / "p.csv", ("scan", "no", "yes"), probabilities(*flat))
    assert score_predictions("p.csv", "mine.toml", progress=False)[1] == 4
    write_csv(sites / "p.csv", ("scan", "no", "yes"), probabilities(("x/A/0.png", "A/0"), ("y/A/0.png", "A/0")))
    with pytest.raises(InvalidInputError, match=r"x/A/0\.png and y/A/0\.png may both be A/0: leave the row"):
        score_predictions("p.csv", "mine.toml", progress=False)


@pytest.mark.parametrize(
    ("values", "rise"), [((0.1, 0.2, 0.3, 0.4), 0.1), ((0.1, 0.4, 0.4, 0.39), -0.01), ((0.5,), None)]
)
def test_late_rise_is_that_of_the_last_quarter(values, rise):
    curve = [[100 * (number + 1), value, 0.0] for number, value in enumerate(values)]
    assert late_rise(curve) == pytest.approx(rise, nan_ok=True) if rise is not None else np.isnan(late_rise(curve))


def test_a_metric_that_still_rises_at_the_last_step_is_said():
    def advice(*values):
        curve = [[100 * (number + 1), value, 0.0] for number, value in enumerate(values)]
        trial = type("Trial", (), {"curve": curve})()
        return Finetuned("", 0, load_target("lcs", ["settings.steps=400"]), trial, {}, {}, {}, "").advice

    said = advice(0.1, 0.2, 0.3, 0.3 + 2 * RISING)
    assert "still rising at the last step" in said
    assert "settings.steps=800" in said
    assert advice(0.1, 0.2, 0.3, 0.3) == ""
