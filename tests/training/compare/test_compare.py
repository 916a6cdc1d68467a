"""sg-hub compare: what is compared, what is said of it, and that it says no more than the trials can show."""

import json
import shutil

import numpy as np
import pytest

from sg_hub.cli import main
from sg_hub.errors import InvalidInputError
from tests.training.report.rows import SETTINGS, row
from tests.training.targets.target_folders import lidc_patches
from tests.training.trials.small_grid import QUICK, small_weights, small_weights_2d
from training.compare import compare as compare_module
from training.compare.advice import advice, taken
from training.compare.compare import compare, contenders
from training.compare.contrasts import contrasts_of, primary_of
from training.compare.page import _about, names_of, write_page
from training.report.columns import columns_of
from training.statistics.trials import holm
from training.trials.grids import grid as grid_module
from training.trials.grids.walk import TrialsError
from training.trials.variant import Variant

INITS = ["a", "b", "random:a"]


def cell(init, values, patients=40, labelled=None, own=False):
    """Trials of a cell."""
    training = SETTINGS["settings"] | {"validate_every": 1}
    rows = []
    for trial, value in enumerate(values):
        found = row(init, trial, value, settings=training)
        found["patients"] = found["patients"] | {"train": patients}
        found["key"] += f"-{labelled}-{own}"
        found |= {"labelled": labelled, "fraction": patients / 40} if labelled else {}
        found |= {"own": Variant(0.3, 0.3).record()} if own else {}
        rows.append(found | {"cost": {"parameters": 10, "seconds_a_step": 0.5, "seconds_an_item": 0.25}})
    return rows


def columns(*cells):
    return columns_of({row["key"]: row for rows in cells for row in rows})


LUCK = np.array([0.0, 0.05, -0.04, 0.08, -0.06])
"""Of the draws of trials, which they share."""
NOISE = np.array([0.004, -0.003, 0.002, -0.001, 0.003])


def said(cells, tmp_path, inits=INITS):
    found = columns(*cells)
    return advice(contrasts_of(tmp_path, found, inits), found, names_of(inits))


def test_what_is_named_becomes_initialisations():
    assert contenders(["a", "b", "random"], False) == ["a", "b", "random:a"]
    assert contenders(["random", "encoder:b", "a"], True) == ["random:b", "encoder:b", "a", "encoder:a"]
    for weights, message in (
        (["random"], "give weights, too"),
        (["a"], "give two or more to compare, such as a random"),
        (["a", "random", "random:a"], "one is named twice"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            contenders(weights, False)


def test_a_difference_that_all_draws_share_is_seen_through_their_luck(tmp_path):
    cells = [cell("a", 0.75 + LUCK), cell("b", 0.70 + LUCK + NOISE), cell("random:a", 0.6 + LUCK - NOISE)]
    text = said(cells, tmp_path)
    assert text.startswith("Take a: with 40 labelled patients a is better than b by 0.049 AUC (+0.045 to +0.053), and")
    assert "than random by more" in text
    found = contrasts_of(tmp_path, columns(*cells), INITS)
    assert [(one.one, one.other) for one in found] == [("a", "b"), ("a", "random:a"), ("b", "random:a")]
    assert all(one.paired.p < 0.001 for one in found)
    assert found[0].welch.p > 0.1  # not paired, it sees the luck alone


def test_what_cannot_be_told_apart_is_not(tmp_path):
    cells = [cell("a", 0.70 + LUCK), cell("b", 0.70 + LUCK[::-1]), cell("random:a", 0.69 + LUCK[[2, 3, 0, 1, 4]])]
    text = said(cells, tmp_path)
    assert text.startswith("No difference that these trials can show with 40 labelled patients: of 5 trials each, ")
    assert "take whichever you have, or run more trials" in text
    found = columns(*cells)
    assert taken(contrasts_of(tmp_path, found, INITS), found[0], INITS) == "a"
    both = [cell("a", 0.70 + LUCK), cell("b", 0.70 + LUCK + NOISE), cell("random:a", 0.5 + LUCK)]
    assert said(both, tmp_path).startswith(
        "Take b or a: with 40 labelled patients b is better than random by 0.201 AUC"
    )
    assert "between them these trials can show no difference" in said(both, tmp_path)


@pytest.mark.parametrize("trials", [1, 2])
def test_two_trials_show_nothing(trials, tmp_path):
    text = said([cell("a", [0.9, 0.91][:trials]), cell("random:a", [0.1, 0.12][:trials])], tmp_path, ["a", "random:a"])
    assert text.endswith("can show no difference: give --trials 3 or more.")
    assert "Take" not in text


def test_what_few_labels_change_is_said_by_the_same_protocol(tmp_path):
    inits = ["a", "random:a"]
    whole = [cell("a", 0.8 + LUCK, own=True), cell("random:a", 0.8 + LUCK[::-1], own=True)]
    few = [
        cell("a", 0.7 + LUCK, patients=3, labelled=3, own=True),
        cell("random:a", 0.5 + LUCK + NOISE, patients=3, labelled=3, own=True),
    ]
    same = [cell("a", 0.9 + NOISE), cell("random:a", 0.5 + NOISE)]
    found = columns(*whole, *few, *same)
    assert (primary_of(found).own, primary_of(found).patients) == (True, 40)
    text = said([*whole, *few, *same], tmp_path, inits)
    assert text.startswith("No difference that these trials can show with 40 labelled patients")
    assert text.endswith("; with 3 a is 0.199 above random.")
    level = [
        cell(init, 0.5 + luck, patients=3, labelled=3, own=True)
        for init, luck in zip(inits, (LUCK, -LUCK), strict=True)
    ]
    assert said([*whole, *level], tmp_path, inits).endswith("; with fewer labels they show none either.")


def test_p_is_corrected_for_every_line_of_the_page(tmp_path):
    cells = [
        cell(init, base + LUCK + noise, labelled=labelled, patients=labelled or 40)
        for labelled in (None, 3, 10)
        for init, base, noise in (("a", 0.63, NOISE[::-1]), ("b", 0.62, NOISE), ("random:a", 0.6, 0 * NOISE))
    ]
    found = contrasts_of(tmp_path, columns(*cells), INITS)
    assert len(found) == 3 + 2 + 2
    corrected = holm({str(number): one.paired.p for number, one in enumerate(found)})
    assert [one.holm for one in found] == list(corrected.values())


def test_of_a_segmentation_other_patients_are_drawn_too(tmp_path, monkeypatch):
    monkeypatch.setattr("training.statistics.patients.RESAMPLES", 50)
    cells = [cell("a", 0.7 + LUCK[:3]), cell("random:a", 0.6 + LUCK[:3])]
    for rows, shift in zip(cells, (0.1, 0.0), strict=True):
        for one in rows:
            one["settings"] = one["settings"] | {"head": "segmentation", "metric": "iou"}
            items = [{"item": f"{p}{k}", "patient": p, "iou": [0.5 + shift, None]} for p in "xyz" for k in range(2)]
            folder = tmp_path / "trials" / one["key"]
            folder.mkdir(parents=True)
            (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    (one,) = contrasts_of(tmp_path, columns(*cells), ["a", "random:a"])
    assert (one.over_patients.value, one.over_patients.low) == (pytest.approx(0.1), pytest.approx(0.1))


def test_the_interval_over_patients_is_of_the_difference_beside_it(tmp_path, monkeypatch):
    """Where a patient has many items, and each counts."""
    monkeypatch.setattr("training.statistics.patients.RESAMPLES", 50)
    cells = [cell("a", [0.82, 0.82, 0.82]), cell("random:a", [0.52, 0.52, 0.52])]
    for rows, (many, single) in zip(cells, ((0.9, 0.5), (0.5, 0.6)), strict=True):
        for one in rows:
            one["settings"] = one["settings"] | {"head": "segmentation", "metric": "iou"}
            items = [{"item": f"x{k:02}", "patient": "x", "iou": [many]} for k in range(20)]
            items += [{"item": p, "patient": p, "iou": [single]} for p in "abcde"]
            folder = tmp_path / "trials" / one["key"]
            folder.mkdir(parents=True)
            (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    (one,) = contrasts_of(tmp_path, columns(*cells), ["a", "random:a"])
    assert one.over_patients.value == pytest.approx(one.paired.difference) == pytest.approx(0.3)
    assert one.over_patients.low == pytest.approx(-0.1)  # where x was not drawn


def test_the_page_shows_all_of_it_in_one_file(tmp_path):
    cells = [
        cell(init, base + LUCK, labelled=labelled, patients=labelled or 40, own=own)
        for own in (False, True)
        for labelled in (None, 3)
        for init, base in (("a", 0.7), ("random:a", 0.6))
    ]
    page = write_page(tmp_path, columns(*cells), ["a", "random:a"], "my.toml", quick=True).read_text(encoding="utf-8")
    assert page.count('<img src="data:image/png;base64,') == 2 + 4 == page.count("<img")
    for words in (
        "Which weights for task?",
        '<p class="advice">',
        "A first look",
        "3 labelled patients, same settings",
        "40 labelled patients (all), own settings",
        "head first, rate x 0.3, all steps",
        "sg-hub finetune --init a --target my.toml --out my-model settings.lr_factor=0.3 settings.head_first=0.3 "
        "settings.keep=last",
        "<td>a - random</td>",
        "corrected for all 4 lines",
        "<td>0.5 s</td>",
    ):
        assert words in page, words
    assert "nan" not in page.split("<img")[0]


def test_the_page_shows_surfaces_and_centres_where_they_were_measured(tmp_path):
    cells = [cell("a", 0.7 + LUCK, labelled=3, patients=3), cell("random:a", 0.6 + LUCK, labelled=3, patients=3)]
    for rows, share, apart in zip(cells, (0.5, 0.25), (3.0, 6.5), strict=True):
        for one, noise in zip(rows, NOISE, strict=True):
            one["in_mm"] = {"surface dice": share + noise * apart, "surface dice x": 0.1, "centre error": apart}
    page = write_page(tmp_path, columns(*cells), ["a", "random:a"], "my.toml").read_text(encoding="utf-8")
    assert "surface Dice at 3 mm</td><td>0.503 (p " in page.replace("</th>", "</td>").replace("<th>", "<td>")
    assert "3.0 mm</td>" in page
    assert "surface dice x" not in page
    for one in cells[0]:
        del one["in_mm"]
    page = write_page(tmp_path, columns(*cells), ["a", "random:a"], "my.toml").read_text(encoding="utf-8")
    assert "surfaces and centres" not in page


def test_trials_that_failed_keep_no_page_from_being_written(tmp_path, monkeypatch):
    cells = [cell("a", 0.7 + LUCK), cell("b", 0.6 + LUCK[:4]), cell("random:a", 0.6 + LUCK)]
    cells += [cell("b", 0.7 + LUCK, own=True)]
    rows = {row["key"]: row for rows in cells for row in rows}

    def failed(*arguments, **options):
        raise TrialsError("some failed", rows, [f"<b>, trial {number}: the loss is nan" for number in range(6)])

    monkeypatch.setattr(compare_module, "run_grid", failed)
    monkeypatch.setattr(compare_module, "_check_apart", lambda inits: None)
    monkeypatch.setattr(compare_module, "_for_finetune", lambda *arguments: ([], ""))
    with pytest.raises(TrialsError, match="some failed"):
        compare("my.toml", ["a", "b", "random"], tmp_path)
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "There are trials of b alone with 40 labelled patients: there is nothing to hold them against." in page
    assert "Trials that failed: &lt;b&gt;, trial 0: the loss is nan; " in page
    assert "trial 4: the loss is nan and 1 more. Of their cells, trials of the same numbers are left out" in page
    assert "<td>0.72" in page  # the mean of the first four; of all five 0.706
    assert "nan<" not in page


def test_cells_that_are_left_of_failed_trials_may_have_one_amount_of_labels_each(tmp_path):
    cells = [cell(init, base + LUCK) for init, base in (("a", 0.7), ("random:a", 0.6))]
    cells += [cell(init, 0.5 + LUCK, patients=3, labelled=3, own=True) for init in ("a", "random:a")]
    page = write_page(tmp_path, columns(*cells), ["a", "random:a"], "my.toml", failed=["x"]).read_text(encoding="utf-8")
    assert "With fewer labels" not in page
    assert page.count("<img") == 1 + 2
    assert "same settings&#x27;, of those that are left of the trials that failed" in page
    assert "named before anything was run" not in page


def test_no_command_is_shown_that_would_be_refused(tmp_path):
    lidc_patches(tmp_path / "data" / "lidc", patients=2)
    weights, data = small_weights_2d(tmp_path / "small"), tmp_path / "data"
    shown, refused = compare_module._for_finetune("lidc-nodules-2d", ["settings.steps=1"], data, [weights])
    assert shown == ["settings.steps=1", f"root={data / 'lidc'}"]
    assert "a 2D network on the slices of 3D data can be benchmarked, not saved" in refused
    cells = columns(*(cell(init, 0.7 + LUCK) for init in ("a", "random:a")))
    page = write_page(tmp_path, cells, ["a", "random:a"], "my.toml", refused=refused).read_text(encoding="utf-8")
    assert refused in page
    assert "sg-hub finetune" not in page


def test_the_page_says_which_step_was_kept(tmp_path):
    for keep, words in (("best", "the step that did best on the validation patients is kept"), ("last", "the last")):
        cells = [cell(init, 0.7 + LUCK) for init in ("a", "random:a")]
        for one in cells[0] + cells[1]:
            one["settings"] = one["settings"] | {"settings": one["settings"]["settings"] | {"keep": keep}}
        assert any(words in line for line in _about(columns(*cells)))


def test_the_command_compares_goes_on_and_leaves_out_what_there_is_not(tmp_path, capsys, monkeypatch):
    lidc_patches(tmp_path / "data" / "lidc", patients=8)
    weights = small_weights(tmp_path / "small")
    out = tmp_path / "out"
    command = ["compare", "--target", "lidc-nodules", "--weights", weights, "random", "--quick", "--trials", "1"]
    command += ["--patients", "3", "--data", str(tmp_path / "data"), "--out", str(out), "--quiet", *QUICK]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "2 trials, 0 of them done" in printed
    assert "lidc-nodules, random:" in printed
    assert "3 labelled patients, trial 0: iou" in printed
    assert printed.splitlines()[-1] == str(out / "compare.html")
    page = (out / "compare.html").read_text(encoding="utf-8")
    assert "1 trial of each can show no difference" in page
    assert f"root={tmp_path / 'data' / 'lidc'}" in page  # finetune has no --data
    monkeypatch.setattr(grid_module, "result_of", lambda *a, **k: pytest.fail("computed twice"))
    assert main(command) == 0
    given = {"data": tmp_path / "data", "progress": False}
    with pytest.raises(InvalidInputError, match="50 labelled patients: expected 1 to"):
        compare("lidc-nodules", [weights, "random"], out, QUICK, patients=["50"], trials=1, **given)
    shutil.copytree(weights, tmp_path / "copy")
    with pytest.raises(InvalidInputError, match="copy are the same weights; give one of them"):
        compare("lidc-nodules", [weights, str(tmp_path / "copy")], out, QUICK, trials=1, **given)
    assert main([*command, "--patients", "few"]) == 2
    assert "--patients few: expected a whole number, or all" in capsys.readouterr().err
