"""The report of a benchmark, and weights for a task of one's own."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from scipy import stats

import sg_hub
from sg_hub import Preprocessing, SemanticGenesis2D, SemanticGenesis3D
from sg_hub.errors import InvalidInputError, ReadError
from training.__main__ import main
from training.leakage import patient_hashes
from training.report import report
from training.report.columns import columns_of
from training.report.tables import csv_table, latex_table, markdown_table
from training.results import append, read_results

from .conftest import SAMPLES
from .target_folders import write_csv

SETTINGS = {
    "title": "a task",
    "description": "What it is.",
    "code": "NCC",
    "dataset": "set",
    "head": "classification",
    "metric": "auc",
    "ndim": 3,
    "min_positives": 1,
    "settings": {"steps": 5, "batch_size": 2, "lr": 0.1, "precision": "float32"},
}


def row(init, trial, value, target="task", fraction=1.0, **settings):
    values = {"auc": value}
    return {
        "key": f"{target}-{init}-{fraction}-{trial}".replace(":", "_"),
        "target": target,
        "init": init,
        "weights": f"whole:{init}",
        "trial": trial,
        "fraction": fraction,
        "metric": "auc",
        "value": value,
        "values": values,
        "left_out": [],
        "cases": {"train": 8, "validation": 2, "test": 4},
        "patients": {"train": 4, "validation": 1, "test": 2},
        "curve": [[1, 0.5, 1.0], [5, value, 0.5]],
        "minutes": 1.5,
        "settings": SETTINGS | {"name": target} | settings,
        "machine": "2 CPU cores",
    }


TRIALS = {
    "best": [0.90, 0.91, 0.92, 0.905],
    "near": [0.89, 0.915, 0.90, 0.91],
    "random:best": [0.70, 0.72, 0.69, 0.71],
}


@pytest.fixture
def folder(tmp_path):
    for init, values in TRIALS.items():
        for trial, value in enumerate(values):
            append(tmp_path, row(init, trial, value))
    return tmp_path


def test_the_table_marks_the_best_and_what_equals_it(folder):
    columns = columns_of(read_results(folder))
    text = markdown_table(columns)
    assert f"**{100 * np.mean(TRIALS['best']):.2f}±{100 * np.std(TRIALS['best'], ddof=1):.2f}**" in text
    near = next(line for line in text.splitlines() if line.startswith("| near"))
    assert near.endswith("† |")
    random = next(line for line in text.splitlines() if "Random" in line)
    assert "†" not in random
    assert "**" not in random
    latex = latex_table(columns)
    assert "\\textbf{90.88$\\pm$0.85}" in latex
    assert "\\cellcolor{blue!15}90.38" in latex
    assert "AUC \\%" in latex
    rows = {line["initialisation"]: line for line in csv.DictReader(csv_table(columns).splitlines())}
    test = stats.ttest_ind(TRIALS["random:best"], TRIALS["best"], equal_var=False)
    assert float(rows["random:best"]["p_welch"]) == pytest.approx(test.pvalue, rel=1e-4)
    assert float(rows["random:best"]["p_holm"]) == pytest.approx(2 * test.pvalue, rel=1e-4)
    assert float(rows["near"]["p_plain"]) == pytest.approx(
        stats.ttest_ind(TRIALS["near"], TRIALS["best"]).pvalue, rel=1e-4
    )
    assert rows["best"]["p_welch"] == ""


def test_the_report_shows_everything_and_keeps_the_papers_figures_apart(folder):
    for trial in range(3):
        append(folder, row("best", trial, 0.8 + trial / 100, fraction=0.1))
        append(folder, row("flat", trial, 0.85 + trial / 100, target="task-2d", ndim=2))
    page = report(folder).read_text(encoding="utf-8")
    measured, _, reported = page.partition("## Reported by the paper, measured by nobody here")
    assert "98.47±0.22" in reported
    assert "98.47" not in measured
    assert "LCS (IoU" not in reported  # only the tasks that were run
    assert "What it is." in measured
    assert "10% of labels" in measured
    figures = {path.name for path in (folder / "report").glob("*.png")}
    assert {"bars.png", "bars_2d_3d.png", "fractions.png", "curves-task.png", "curves-task-2d.png"} == figures
    assert all(f"]({name})" in page for name in figures)
    assert (folder / "report" / "table.tex").is_file()


def test_the_page_says_whether_training_had_converged(tmp_path):
    for trial in range(2):
        rising, level = row("rising", trial, 0.9 + trial / 100), row("level", trial, 0.8 + trial / 100)
        rising["curve"] = [[25, 0.3, 1], [50, 0.5, 1], [75, 0.6, 1], [100, 0.7, 1]]
        level["curve"] = [[50, 0.7, 1], [100, 0.7 + 0.01 * trial, 1]]
        append(tmp_path, rising)
        append(tmp_path, level)
    page = report(tmp_path).read_text(encoding="utf-8")
    assert any(line.startswith("| rising |") and line.endswith("| +10.00 |") for line in page.splitlines())
    assert any(line.startswith("| level |") and line.endswith("| +0.50 |") for line in page.splitlines())


def test_a_report_of_fractions_alone_keeps_them_apart_and_out_of_the_cards(tmp_path):
    for fraction in (0.1, 0.25):
        for init in ("w", "random:w"):
            for trial in range(2):
                append(tmp_path, row(init, trial, 0.8 + trial / 100, fraction=fraction))
    report(tmp_path)
    figures = {path.name for path in (tmp_path / "report").glob("*.png")}
    assert figures == {"bars.png", "fractions.png", "curves-task-10.png", "curves-task-25.png"}
    assert not (tmp_path / "task").exists()


def test_one_trial_has_no_scatter_and_no_test(tmp_path):
    append(tmp_path, row("a", 0, 0.5))
    append(tmp_path, row("b", 0, 0.6))
    page = report(tmp_path).read_text(encoding="utf-8")
    assert "nan" not in page.lower().replace("nanc", "")
    assert "†" not in page.split("Mean ±")[0]


def test_the_card_gets_what_was_measured_with_its_weights(folder):
    report(folder)
    record = json.loads((folder / "task" / "best.json").read_text(encoding="utf-8"))
    assert record["sha256"] == "best"
    assert record["task_type"] == "image-classification"
    assert [r["name"] for r in record["rows"]] == ["mean"]
    assert "0.204 AUC better than a random" in record["verdict"]
    assert "significantly" in record["verdict"]
    assert not (folder / "task" / "near.json").exists()  # its architecture was not run from random weights


def test_trials_that_cannot_be_compared_are_refused(folder):
    other = row("best", 9, 0.5)
    other["settings"] = other["settings"] | {"settings": {"steps": 99}}
    append(folder, other)
    with pytest.raises(InvalidInputError, match="different settings"):
        report(folder)


def test_another_set_of_weights_of_the_same_name_is_refused(folder):
    append(folder, row("best", 9, 0.5) | {"weights": "whole:other"})
    with pytest.raises(InvalidInputError, match="best stands for 2 sets of weights"):
        report(folder)


def test_without_results_the_report_says_what_to_do(tmp_path, capsys):
    with pytest.raises(ReadError, match="training benchmark"):
        report(tmp_path)
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


# -- a task of one's own ---------------------------------------------------------------------------------------------

QUICK = ["settings.steps=2", "settings.validate_every=1", "settings.batch_size=2", 'settings.precision="float32"']


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    origin = {"data": "some scans", "licence": "apache-2.0", "patients": patient_hashes("other", ["x"])}
    SemanticGenesis3D(
        width=2, num_classes=3, norm="running", preprocessing=Preprocessing(), provenance=origin
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
    trained = {*results["cases"]}
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


def test_broken_pairs_are_skipped_or_named(scans, weights, capsys):
    root = scans / "mine"
    (root / "labels" / "pt_201.nii.gz").unlink()
    assert main(["targets", str(scans / "mytask.toml")]) == 0
    assert "no label map of its name" in capsys.readouterr().out
    (root / "labels" / "pt_207.nii.gz").write_bytes(b"no scan")
    arguments = ["finetune", "--init", str(weights / "small3d"), "--target", str(scans / "mytask.toml")]
    assert main([*arguments, "--out", str(scans / "out"), *QUICK]) == 2
    assert "pt_207" in capsys.readouterr().err
    assert not (scans / "out" / "model.safetensors").exists()


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
    from training.targets import load_target

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
    sample = target.load(target.cases().cases[0])
    assert sample.image.shape == (1, 80, 80)
    assert np.array_equal(sample.label == 1, sample.image[0] > 0.4)
    assert int(sample.label.sum()) == 20 * 40  # twice as large, in the middle
    assert sample.label[:20].sum() == 0


def test_the_record_becomes_a_row_of_a_card(folder, tmp_path):
    from training.card import build_card

    from .test_publish import CARDS

    report(folder)
    model = tmp_path / "semantic-genesis-3d-tiny"
    shutil.copytree(CARDS / "semantic-genesis-3d-tiny", model)
    results = json.loads((model / "results.json").read_text(encoding="utf-8"))
    results["transfer"] = [json.loads((folder / "task" / "best.json").read_text(encoding="utf-8"))]
    (model / "results.json").write_text(json.dumps(results), encoding="utf-8")
    card = ModelCard.load(build_card(model))
    row = next(result for result in card.data.eval_results if result.dataset_type == "set")
    assert (row.task_type, row.metric_type, row.metric_value) == ("image-classification", "roc_auc", 0.909)
    assert "0.204 AUC better" in card.text


def test_the_worked_example_of_the_readme_is_valid():
    from training.targets import in_parts, load_target

    root = SAMPLES.parent.parent.parent
    target = load_target(SAMPLES.parent / "organs.toml", [f"root={SAMPLES}"])
    found = target.cases()
    assert {part: len(cases) for part, cases in in_parts(found.cases).items()} == {
        "train": 3,
        "validation": 1,
        "test": 2,
    }
    for case in found.cases:
        assert target.load(case).label.max() == 2
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert "--target tests/samples/organs.toml" in readme
