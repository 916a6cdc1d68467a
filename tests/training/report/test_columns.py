"""Which trials stand in one column of a report, and what each is called."""

import json

import pytest

from sg_hub.errors import InvalidInputError
from tests.training.report.rows import row
from training.report import report
from training.report.columns import columns_of, labels_of
from training.trials.grids.results import append, read_results
from training.trials.variant import Variant


def test_the_same_weights_under_two_names_are_one_row(tmp_path):
    for trial in range(4):
        name = "there/w" if trial < 2 else "elsewhere/w"
        append(tmp_path, row(name, trial, 0.8 + trial / 100) | {"weights": "whole:w", "key": f"w{trial}"})
    (column,) = columns_of(read_results(tmp_path))
    assert {init: len(rows) for init, rows in column.rows.items()} == {"there/w": 4}


def test_trials_of_an_older_protocol_are_left_out(folder, capsys):
    append(folder, row("best", 9, 0.1) | {"protocol": 1, "key": "old"})
    for trial in range(3):
        other = row("best", trial, 0.7 + trial / 100) | {"protocol": 1, "key": f"other{trial}", "target": "other"}
        append(folder, other)
    page = report(folder).read_text(encoding="utf-8")
    assert "1 trials by an older protocol" in capsys.readouterr().out
    assert "90.88" in page
    assert "3 trials by protocol 1" in page  # of another target it is the newest: columns are not compared
    assert "71.00" in page


def test_weights_in_folders_of_one_name_are_told_apart():
    assert labels_of(["runs/a/model", "random:runs/b/model", "tiny"]) == {
        "runs/a/model": "a/model",
        "random:runs/b/model": "Random (b/model)",
        "tiny": "tiny",
    }
    assert labels_of(["runs/a/model", "random:runs/a/model"])["random:runs/a/model"] == "Random (model)"


def test_trials_that_cannot_be_compared_are_refused(folder):
    other = row("best", 9, 0.5)
    training = other["settings"]["settings"] | {"steps": 99}
    other["settings"], other["task"] = other["settings"] | {"settings": training}, "other"
    append(folder, other)
    with pytest.raises(InvalidInputError, match=r"settings\.steps \(99 and 5\).*copy the folder"):
        report(folder)


def test_trials_on_other_items_are_refused(folder):
    append(folder, row("best", 9, 0.5) | {"task": "with another patient"})
    with pytest.raises(InvalidInputError, match="different items"):
        report(folder)


def test_other_weights_of_the_same_name_are_told_apart(folder):
    """As where weights were trained further in their folder."""
    for trial in range(3):
        append(folder, row("best", trial, 0.5) | {"weights": "whole:0123456789", "key": f"further-{trial}"})
    page = report(folder).read_text(encoding="utf-8")
    assert [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| best (")][-2:] == [
        [" best (01234567) ", " 3 "],
        [" best (best) ", " 4 "],
    ]


def test_of_several_own_settings_of_one_cell_one_is_looked_at(tmp_path):
    """Two machines that are merged have chosen differently: their trials have the same numbers."""
    for trial in range(4):
        for init in ("a", "random:a"):
            append(tmp_path, row(init, trial, 0.5 + trial / 100) | {"own": Variant(0.3).record()})
    for trial in range(3):
        other = row("a", trial, 0.9) | {"own": Variant(0.1).record()}
        append(tmp_path, other | {"key": f"other-{trial}"})
    (column,) = columns_of(read_results(tmp_path))
    assert {init: len(rows) for init, rows in column.rows.items()} == {"a": 4, "random:a": 4}
    assert (column.summaries["a"].mean, column.others) == (pytest.approx(0.515), {"a": 3})
    page = report(tmp_path).read_text(encoding="utf-8")
    assert "3 trials of a are left out: they have other settings of its own than most" in page
    assert "the last step was kept, and the test part was read once" in page


def test_a_random_network_has_one_name_though_its_hash_is_another_in_each_protocol(tmp_path):
    for trial in range(3):
        for target, protocol in (("task", 2), ("other", 3)):
            found = row("random:best", trial, 0.5) | {"target": target, "protocol": protocol}
            append(tmp_path, found | {"weights": f"random:{protocol}", "key": f"{target}{trial}"})
    assert [list(column.rows) for column in columns_of(read_results(tmp_path))] == [["random:best"]] * 2
    append(tmp_path, row("random:best", 9, 0.5) | {"protocol": 2, "weights": "random:other", "key": "x"})
    first, second = (set(column.rows) for column in columns_of(read_results(tmp_path)))
    assert (first, second) == ({"random:best"}, {"random:best (2)", "random:best (other)"})


def test_a_fraction_is_said_as_it_was_asked_for(tmp_path):
    for fraction in (0.02, 0.025, 0.004):
        for init in ("a", "random:a"):
            for trial in range(2):
                append(tmp_path, row(init, trial, 0.5, fraction=fraction))
    titles = [column.title for column in columns_of(read_results(tmp_path))]
    assert titles == [f"task, {share}% of labels (AUC %)" for share in ("2.5", "2", "0.4")]


def test_a_target_without_a_title_of_its_own_is_not_said_twice(tmp_path):
    for title in ("task", "livers in CT"):
        (tmp_path / title).mkdir()
        append(tmp_path / title, row("best", 0, 0.9, title=title))
    assert [columns_of(read_results(tmp_path / title))[0].about for title in ("task", "livers in CT")] == [
        "",
        "Livers in CT.",
    ]
    assert "Task." not in report(tmp_path / "task").read_text(encoding="utf-8")


def test_equal_trials_without_scatter_are_level(tmp_path):
    for init in ("a", "random:a"):
        for trial in range(3):
            append(tmp_path, row(init, trial, 0.9))
    page = report(tmp_path).read_text(encoding="utf-8")
    assert page.count("90.00±0.00†") == 1
    verdict = json.loads((tmp_path / "task" / "a-a.json").read_text(encoding="utf-8"))["verdict"]
    assert verdict == "These weights are level with a random initialisation: both have the same mean AUC."
