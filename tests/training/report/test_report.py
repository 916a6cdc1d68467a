"""The report of a benchmark, and weights for a task of one's own."""

import csv
import json
import shutil

import numpy as np
import pytest
from scipy import stats

from sg_hub.cli import main
from sg_hub.errors import ReadError
from tests.support.folders import ROOT
from tests.training.report.rows import TRIALS, row
from training.publishing.cards.pretrained import _fine
from training.publishing.cards.results_file import Transfer
from training.report import figures as draw
from training.report import report
from training.report.columns import columns_of
from training.report.figures import colours_of, examples
from training.report.tables import csv_table, latex_table, markdown_table
from training.trials.grids.results import append, read_results
from training.trials.variant import Variant


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
    assert {
        "bars.png",
        "bars_2d_3d.png",
        "fractions.png",
        "curves-task.png",
        "curves-task-10.png",
        "curves-task-2d.png",
    } == figures
    assert all(f"]({name})" in page for name in figures)
    assert (folder / "report" / "table.tex").is_file()


def test_pictures_of_an_earlier_report_are_removed(folder):
    for trial in range(3):
        append(folder, row("best", trial, 0.8 + trial / 100, fraction=0.1))
    report(folder)
    pictures = folder / "report"
    earlier = {path.name for path in pictures.glob("*.png")}
    (pictures / "mine.png").write_bytes(b"of somebody")
    rows = {key: found for key, found in read_results(folder).items() if found["fraction"] == 1}
    page = report(folder, rows=rows).read_text(encoding="utf-8")
    left = {path.name for path in pictures.glob("*.png")} - {"mine.png"}
    assert left == {name for name in earlier if name in page}
    assert earlier - left == {"fractions.png", "curves-task-10.png"}
    assert (pictures / "mine.png").is_file()


@pytest.mark.parametrize(
    ("machines", "said"),
    [
        (["a GPU"], "bfloat16"),
        (["4 cores (old, without bfloat16)"], "float32"),
        (["a GPU", "4 cores (old, without bfloat16)"], "bfloat16, and float32 on machines without it"),
    ],
)
def test_the_page_says_in_which_numbers_was_computed(tmp_path, machines, said):
    settings = row("best", 0, 0.8)["settings"]["settings"] | {"precision": "bfloat16"}
    for trial, machine in enumerate(machines):
        append(tmp_path, row("best", trial, 0.8, settings=settings) | {"machine": machine})
    assert f", {said}. {len(machines)} trials by" in report(tmp_path).read_text(encoding="utf-8")


def test_the_page_says_whether_training_had_converged(tmp_path):
    for trial in range(2):
        rising, level = row("rising", trial, 0.9 + trial / 100), row("level", trial, 0.8 + trial / 100)
        rising["curve"] = [[25, 0.3, 1], [50, 0.5, 1], [75, 0.6, 1], [100, 0.7, 1]]
        level["curve"] = [[50, 0.7, 1], [80, 0.4, 1], [100, 0.7 + 0.01 * trial, 1]]
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


def test_doubtful_references_are_counted_apart(tmp_path):
    for init, shift in (("best", 0.2), ("random:best", 0.0)):
        for trial in range(3):
            doubtful = {"items": {"p7": "drawn too large"}, "values": {"auc": 0.7 + shift + trial / 100}}
            append(tmp_path, row(init, trial, 0.5 + shift + trial / 100) | {"doubtful": doubtful})
    page = report(tmp_path).read_text(encoding="utf-8")
    assert "Without 1 test items whose reference is known to be wrong (p7: drawn too large):" in page
    assert "| best | 71.00±1.00 | 91.00±1.00 |" in page
    assert "(Fig. 2 of the paper); ◇ mean without test items whose reference is known to be wrong" in page
    text = (tmp_path / "report" / "table.csv").read_text(encoding="utf-8")
    lines = {line["initialisation"]: line for line in csv.DictReader(text.splitlines())}
    assert float(lines["best"]["mean_without_doubtful"]) == pytest.approx(0.91)
    assert float(lines["random:best"]["sd_without_doubtful"]) == pytest.approx(0.01)
    record = json.loads((tmp_path / "task" / "best-best.json").read_text(encoding="utf-8"))
    assert "is known to be wrong it is 91.00±1.00 %, from random weights 71.00±1.00 %." in record["about"]
    found = list(_fine([Transfer.model_validate(record)]))
    assert [(one.metric, one.value) for one in found] == [
        ("AUC, mean over trials", 0.71),
        ("AUC, mean over trials, without 1 test items whose reference is known to be wrong", 0.91),
    ]


def test_what_is_in_no_mean_is_counted(tmp_path):
    for trial, count in enumerate((3, 5)):
        append(tmp_path, row("a", trial, 0.5) | {"absent": {"spot": count}, "seen": 4})
        append(tmp_path, row("b", trial, 0.5) | {"absent": {"spot": 4}, "seen": 4})
    page = report(tmp_path).read_text(encoding="utf-8")
    assert "spot is neither there nor found in 3 to 5 of the test items, which are in no mean of it." in page
    assert "4 patients of the pre-training are trained on, not tested." in page


def test_two_trials_have_no_interval_and_no_winner(tmp_path):
    for init in ("a", "b", "random:a"):
        for trial in range(2):
            append(tmp_path, row(init, trial, 0.1 + 0.8 * trial))
    page = report(tmp_path).read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith("| b |") and line.count("|") == 12)
    assert line.split("|")[5].strip() == ""
    assert "from 3 trials on" in page
    assert "**" not in page.split("## Figures")[0]
    assert "Fewer than 3 trials of one of them: no interval, no test, and none is the best." in page
    record = json.loads((tmp_path / "task" / "a-a.json").read_text(encoding="utf-8"))
    assert record["rows"][0]["difference"] == "+0.000"


@pytest.mark.parametrize("ranks", [(), ("best",), ("best", "worst"), ("best", "median", "worst")])
def test_as_many_examples_are_drawn_as_there_are(tmp_path, ranks):
    arrays = {f"{rank}_image": np.zeros((8, 8), dtype=np.uint8) for rank in ranks}
    np.savez(tmp_path / "e.npz", **arrays, **{f"{rank}_title": np.array(f"{rank}\nauc") for rank in ranks})
    assert examples({"a": tmp_path / "e.npz"}, tmp_path / "e.png") == bool(ranks)
    assert (tmp_path / "e.png").is_file() == bool(ranks)


def test_an_initialisation_has_one_colour_and_random_ones_are_grey():
    colours = colours_of(["random:a", "a", "b", "random:b"])
    assert len(set(colours.values())) == 4
    assert all(colours[init].startswith("0.") == init.startswith("random:") for init in colours)
    assert "C7" not in colours_of([str(number) for number in range(9)]).values()  # matplotlib's grey


def test_a_damaged_file_of_examples_is_named(tmp_path):
    np.savez(tmp_path / "e.npz", best_image=np.zeros((8, 8)), best_title=np.array("x"))
    raw = bytearray((tmp_path / "e.npz").read_bytes())
    raw[150] ^= 1
    (tmp_path / "e.npz").write_bytes(raw)
    with pytest.raises(ReadError, match=r"e\.npz is damaged"):
        examples({"a": tmp_path / "e.npz"}, tmp_path / "e.png")


def test_what_some_trials_have_no_value_of_is_in_no_table(tmp_path):
    for init in ("a", "random:a"):
        for trial in range(2):
            found = row(init, trial, 0.5 + 0.1 * trial)
            found["values"] |= {"auc x": 0.5} | ({"auc y": 0.5} if trial == 0 else {})
            append(tmp_path, found)
    page = report(tmp_path).read_text(encoding="utf-8")
    assert "| mean over trials, % | auc x |" in page
    record = json.loads((tmp_path / "task" / "a-a.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in record["rows"]] == ["x", "mean"]


def test_surfaces_and_centres_have_a_table_where_every_trial_has_them(tmp_path):
    for init, share, apart in (("a", 0.5, 3.0), ("random:a", 0.25, 6.5)):
        for trial in range(2):
            append(tmp_path, row(init, trial, 0.5) | {"in_mm": {"surface dice": share, "centre error": apart + trial}})
    page = report(tmp_path).read_text(encoding="utf-8")
    assert "| mean over trials | centre error, mm | surface dice, % |\n|---|---|---|\n" in page
    assert "| a | 3.50 | 50.00 |" in page
    assert "| Random (a) | 7.00 | 25.00 |" in page
    classes = {"surface dice": 0.5, "surface dice x": 0.5, "centre error": 1.0}
    for trial in range(2):  # of another target: in one trial x was never found
        found = classes | ({"centre error x": 1.0} if trial else {})
        append(tmp_path, row("a", trial, 0.5, target="other") | {"in_mm": found})
    assert "| mean over trials | surface dice, % | surface dice x, % |" in report(tmp_path).read_text(encoding="utf-8")
    for one in ("task", "other"):
        append(tmp_path, row("a", 2, 0.5, target=one))
    assert "centre error" not in report(tmp_path).read_text(encoding="utf-8")


def without_examples(text):
    """Lines, but for those of the pictures of examples: they need more than the table of results."""
    return [line for line in text.splitlines() if line and "best, median and worst test item" not in line]


@pytest.mark.parametrize("of", ["", "chest", "few", "mri", "xrays"])
def test_the_report_of_what_was_measured_is_that_of_todays_code(of, tmp_path):
    measured = ROOT / "training" / "measured" / of
    shutil.copy(measured / "results.jsonl", tmp_path)
    report(tmp_path)
    for name in ("report.md", "table.md", "table.tex", "table.csv"):
        text, kept = ((folder / "report" / name).read_text(encoding="utf-8") for folder in (tmp_path, measured))
        assert without_examples(text) == without_examples(kept)


def test_one_trial_has_no_scatter_and_no_test(tmp_path):
    append(tmp_path, row("a", 0, 0.5))
    append(tmp_path, row("b", 0, 0.6))
    page = report(tmp_path).read_text(encoding="utf-8")
    assert "nan" not in page.lower().replace("nanc", "")
    assert "†" not in page.split("Mean ±")[0]


def test_without_results_the_report_says_what_to_do(tmp_path, capsys):
    with pytest.raises(ReadError, match="sg-hub benchmark"):
        report(tmp_path)
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("sg-hub: error: ")


def test_both_protocols_with_one_amount_of_labels_have_no_curve_of_labels(tmp_path):
    for trial in range(3):
        for init in ("a", "random:a"):
            found = row(init, trial, 0.5 + trial / 100)
            append(tmp_path, found)
            append(tmp_path, found | {"own": Variant(0.3).record(), "key": f"{found['key']}-own"})
    page = report(tmp_path).read_text(encoding="utf-8")
    assert "| task (AUC %) | task, own settings (AUC %) |" in page
    assert "Of these settings each had its own: a: plain, rate x 0.3, all steps; Random (a): plain, rate x 0.3" in page
    figures = {path.name for path in (tmp_path / "report").glob("*.png")}
    assert figures == {"bars.png", "curves-task.png", "curves-task-own.png"}


def test_names_of_folders_do_not_break_the_table_for_latex(tmp_path):
    for init in ("a~1^2{x}\\y_z", "random:w"):
        for trial in range(2):
            append(tmp_path, row(init, trial, 0.5) | {"key": f"{init[0]}{trial}"})
    latex = latex_table(columns_of(read_results(tmp_path)))
    assert "a\\textasciitilde{}1\\textasciicircum{}2\\{x\\}\\textbackslash{}y\\_z & " in latex


def test_names_of_targets_and_classes_break_neither_a_link_nor_a_table(tmp_path):
    for init in ("a|b", "random:a|b"):
        for trial in range(3):
            found = row(init, trial, 0.5 + trial / 100, target="my task (v2)")
            append(tmp_path, found | {"key": f"{init[0]}{trial}", "values": {"auc": 0.5, "auc left|right": 0.4}})
    page = report(tmp_path).read_text(encoding="utf-8")
    assert "](curves-my%20task%20%28v2%29.png)" in page
    assert (tmp_path / "report" / "curves-my task (v2).png").is_file()
    assert "| mean over trials, % | auc left\\|right |" in page
    assert page.count("| a\\|b |") == 3
    assert page.count("| Random (a\\|b) |") == 3


def test_where_none_is_the_best_nothing_is_held_against_it(folder):
    """As where a grid goes on: of one initialisation there are few trials yet."""
    for trial in range(2):
        append(folder, row("new", trial, 0.3 + trial / 100))
    page = report(folder).read_text(encoding="utf-8")
    assert "no interval, no test, and none is the best" in page
    assert "†" not in page.split("Mean ±")[0]
    (line,) = (line for line in page.splitlines() if line.startswith("| near |") and line.count("|") == 12)
    assert [cell.strip() for cell in line.split("|")[6:11]] == [""] * 5
    rows = csv.DictReader((folder / "report" / "table.csv").read_text(encoding="utf-8").splitlines())
    assert {(line["best"], line["difference_to_best"], line["p_holm"]) for line in rows} == {("0", "", "")}


def test_curves_say_which_task_they_are_of(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(draw, "save", lambda figure, path: drawn.append(figure))
    draw.learning_curves({"random": [[[1, 0.5, 1.0]]]}, "Dice", tmp_path / "curves.png", title="livers")
    assert drawn[0].get_suptitle() == "livers"
