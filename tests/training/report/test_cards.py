"""What a report says of weights to their cards."""

import json
import shutil

from huggingface_hub import ModelCard

from tests.training.report.rows import row
from training.report import report
from training.trials.grids.results import append


def test_the_card_gets_what_was_measured_with_its_weights(folder):
    report(folder)
    record = json.loads((folder / "task" / "best-best.json").read_text(encoding="utf-8"))
    assert record["sha256"] == "best"
    assert record["task_type"] == "image-classification"
    assert [r["name"] for r in record["rows"]] == ["mean"]
    assert "0.204 AUC better than a random" in record["verdict"]
    assert "significantly" in record["verdict"]
    assert "No test patient was in pre-training." in record["about"]
    assert not list((folder / "task").glob("near*"))  # its architecture was not run from random weights


def test_the_card_gets_few_labels_and_own_settings_too(tmp_path):
    own = {"best": {"lr_factor": 1.0, "head_first": 0.3, "share": 1.0}}
    own["random:best"] = own["best"] | {"lr_factor": 0.3, "head_first": 0.0}
    for init, value in (("best", 0.8), ("random:best", 0.7)):
        for trial in range(4):
            scatter = 0.02 * trial + 0.001 * (trial % 2) * len(init)  # a trial's own, most of it
            append(tmp_path, row(init, trial, value + scatter, fraction=0.1) | {"own": own[init]})
    report(tmp_path)
    (path,) = tmp_path.glob("task*/*.json")
    assert path.parent.name == "task-10-own"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (record["title"], record["labels"]) == (
        "a task, 10% of labels, own settings, the whole network",
        "10% of labels",
    )
    assert "these weights head first, rate x 1, all steps, random ones plain, rate x 0.3, all steps" in record["about"]
    welch, paired = (float(part.split()[-1]) for part in record["verdict"].rstrip(").").split("(p = ")[1].split("; "))
    assert paired < welch / 10


def test_what_cannot_be_told_of_leakage_is_said(tmp_path):
    for trial in range(2):
        unknown = row("best", trial, 0.8 + trial / 100)
        unknown["unchecked"] = "these weights do not say it"
        append(tmp_path, unknown)
        append(tmp_path, row("random:best", trial, 0.7 + trial / 100))
    page = report(tmp_path).read_text(encoding="utf-8")
    assert "Whether best has seen test patients cannot be told: these weights do not say it." in page
    record = json.loads((tmp_path / "task" / "best-best.json").read_text(encoding="utf-8"))
    assert "cannot be told: these weights do not say it." in record["about"]


def test_a_page_and_a_card_say_which_step_was_kept(tmp_path):
    settings = row("a", 0, 0.5)["settings"]["settings"] | {"keep": "last"}
    for init in ("a", "random:a"):
        for trial in range(2):
            append(tmp_path, row(init, trial, 0.5, settings=settings))
    page = report(tmp_path).read_text(encoding="utf-8")
    assert "the last step was kept, and the test part was read once" in page
    record = json.loads((tmp_path / "task" / "a-a.json").read_text(encoding="utf-8"))
    assert "4 patients to train on, 1 to validate on, 2 to test on." in record["about"]
    append(tmp_path, row("a", 0, 0.5, target="other"))
    assert (
        "the checkpoint was chosen on the validation part (of task: the last step was kept)"
        in report(tmp_path).read_text()
    )


def test_the_record_becomes_a_row_of_a_card(folder, tmp_path):
    from tests.training.publishing.test_rebuild import CARDS
    from training.publishing.rebuild import build_card

    report(folder)
    model = tmp_path / "semantic-genesis-3d-tiny"
    shutil.copytree(CARDS / "semantic-genesis-3d-tiny", model)
    results = json.loads((model / "results.json").read_text(encoding="utf-8"))
    record = json.loads((folder / "task" / "best-best.json").read_text(encoding="utf-8"))
    del results["record_sha256"], record["record_sha256"]  # as records were before they had one
    results["transfer"] = [record | {"sha256": results["evaluation"]["sha256"]}]
    (model / "results.json").write_text(json.dumps(results), encoding="utf-8")
    card = ModelCard.load(build_card(model))
    row = next(result for result in card.data.eval_results if result.dataset_type == "set")
    assert (row.task_type, row.metric_type, row.metric_value) == ("image-classification", "roc_auc", 0.909)
    assert "0.204 AUC better" in card.text
