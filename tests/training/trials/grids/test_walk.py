"""The walk through a grid: settings of an initialisation's own, numbers of labelled patients, and what is said."""

import re

import pytest

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.targets.target_folders import target_at
from tests.training.trials.small_grid import run
from tests.training.trials.small_trials import QUICK, SMALL, task_of
from training.targets import in_parts
from training.trials.grids import choices, choosing
from training.trials.grids.benchmark import Asked, _fits
from training.trials.grids.grid import cells, grid
from training.trials.grids.results import merge, read_results
from training.trials.grids.walk import Walk
from training.trials.task.initialisation import look_up
from training.trials.trial import Trial
from training.trials.variant import SHORT, VARIANTS, Variant


@pytest.fixture(scope="module")
def task(place, tmp_path_factory):
    target = target_at("lidc-nodules", place / "data" / "lidc", *QUICK, *SMALL, "settings.steps=30")
    return task_of(target, tmp_path_factory.mktemp("items"))


@pytest.fixture(scope="module")
def starts(place):
    return [look_up(f"{kind}{place / 'small'}") for kind in ("", "random:")]


class Pretended:
    """An engine that trains nothing: a run reaches what a function says of it."""

    def __init__(self, reached=lambda trial: 0.5):
        self.reached, self.ran = reached, []

    def __call__(self, trials, finished):
        for trial in trials:
            self.ran.append(trial)
            value = self.reached(trial)
            finished(trial, ({"key": trial.key, "metric": "iou", "value": value, "minutes": 0.1}, {}))
        return []


def test_each_gets_the_settings_that_do_best_at_the_end_of_their_schedule(task, starts, tmp_path, monkeypatch):
    monkeypatch.setattr("training.trials.grids.walk.read_results", lambda out: {})
    best = {"": Variant(0.1, 0.3, SHORT), "random": Variant(1.0, 0.0, 1.0)}

    def reached(trial):
        kind = trial.start.kind if trial.start.kind == "random" else ""
        near = (trial.own.lr_factor, trial.own.head_first) == (best[kind].lr_factor, best[kind].head_first)
        return 0.9 if trial.own == best[kind] else 0.6 + 0.1 * near

    engine = Pretended(reached)
    of = cells([task], starts, [(1.0, None)])
    rows = Walk(tmp_path, engine).run(of, 3, ["own"])
    assert len(rows) == 6
    choosing_runs = [trial for trial in engine.ran if trial.chooses]
    for start in starts:  # the same effort for each
        mine = [trial for trial in choosing_runs if trial.start == start]
        assert [trial.own.share for trial in mine] == (
            [SHORT] * len(VARIANTS) + [1.0] * choosing.FINALISTS + [SHORT] * 2 + [1.0] * 2 * choosing.FINALISTS
        )
        assert {(t.own.lr_factor, t.own.head_first) for t in mine} == {(v.lr_factor, v.head_first) for v in VARIANTS}
    assert len(choosing_runs) == 2 * choosing.RUNS
    trials = [trial for trial in engine.ran if not trial.chooses]
    assert {(trial.start.kind, trial.own) for trial in trials} == {("whole", best[""]), ("random", best["random"])}
    assert {trial.number for trial in choosing_runs}.isdisjoint(trial.number for trial in trials)
    steps = {trial.start.kind: trial.trained_task.target.settings.steps for trial in trials}
    assert steps == {"whole": 10, "random": 30}  # the schedule ends at the length that was chosen
    assert all(trial.trained_task.target.settings.keep == "last" for trial in engine.ran)


def test_one_draw_does_not_choose(task, starts, tmp_path):
    """A third of the steps was the best by a hair with the first draw, and is far behind with the others."""

    def reached(trial):
        third = {choosing.NUMBER: 0.29, choosing.NUMBER + 1: 0.25, choosing.NUMBER + 2: 0.25}
        return third.get(trial.number, 0) if trial.own.share == SHORT else 0.28

    engine = Pretended(reached)
    Walk(tmp_path, engine).run(cells([task], starts[:1], [(1.0, 3)]), 2, ["own"])
    assert [trial.own.share for trial in engine.ran if not trial.chooses] == [1.0, 1.0]
    assert len({trial.number for trial in engine.ran if trial.chooses}) == choosing.DRAWS


def test_a_stopped_choice_goes_on(task, starts, tmp_path):
    whole, stopped = Pretended(), Pretended()

    def killed(trial):
        if len(stopped.ran) == 8:
            raise KeyboardInterrupt
        return 0.5

    stopped.reached = killed
    of = cells([task], starts[:1], [(1.0, 3)])
    with pytest.raises(KeyboardInterrupt):
        Walk(tmp_path, stopped).run(of, 1, ["own"])
    (tmp_path / choices.TABLE).open("a").write('{"key": "cut')
    assert len(choices.read_choices(tmp_path)) == 7
    assert Walk(tmp_path, whole).run(of, 1, ["own"]).keys() == {whole.ran[-1].key}
    assert [trial.chooses for trial in whole.ran] == [True] * 7 + [False]
    assert whole.ran[-1].own == Variant(share=SHORT)  # of equal ones the first of the set


def test_what_there_is_to_do_is_said_before_and_how_long_it_takes_after_the_first(task, starts, tmp_path, capsys):
    of = cells([task], starts, [(1.0, 1), (1.0, None)])
    Walk(tmp_path, Pretended()).run(of, 2, ["same", "own"])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "16 trials, and 56 short ones that choose settings on the validation patients, 0 of them done"
    assert len(lines) == 72
    said = r"1/72 lidc-nodules, .*small, 1 labelled patient, trial 0: iou 0\.5000, 0\.1 min; the other 71: about \d+ s"
    assert re.fullmatch(said, lines[0])
    assert "choosing its settings: plain, rate x 1, a third of the steps: validation iou" in "\n".join(lines)
    assert lines[-1].startswith("72/72")
    assert "about" not in lines[-1]


def test_a_choice_that_is_damaged_is_named(tmp_path):
    (tmp_path / choices.TABLE).write_text('{"key": "a", "value": 0.5}\n{"key": "b", "value": 5}\n', encoding="utf-8")
    with pytest.raises(ReadError, match=r"choices\.jsonl, line 2 is damaged"):
        choices.read_choices(tmp_path)


def test_a_choice_that_was_changed_by_hand_is_named(tmp_path):
    choices.append_choice(tmp_path, {"key": "a", "value": 0.5})
    assert choices.read_choices(tmp_path) == {"a": {"key": "a", "value": 0.5}}
    table = tmp_path / choices.TABLE
    table.write_text(table.read_text(encoding="utf-8").replace("0.5", "0.9"), encoding="utf-8")
    with pytest.raises(ReadError, match=r"choices\.jsonl, line 1 is damaged \(its checksum is another"):
        choices.read_choices(tmp_path)


def test_labels_and_settings_of_its_own_make_other_keys(task, starts):
    trial = Trial(task, starts[0], 0)
    others = [Trial(task, starts[0], 0, patients=3), Trial(task, starts[0], 0, own=Variant())]
    assert len({trial.key, *(other.key for other in others)}) == 3
    assert [t.key for t in grid([trial], 2)] == [trial.key, Trial(task, starts[0], 1).key]


def test_initialisations_share_the_draw_of_labelled_patients(task, starts):
    drawn = [{item.patient for item in Trial(task, start, 1, patients=2).parts()["train"]} for start in starts]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 2


def test_a_grid_of_numbers_of_patients_and_own_settings(place, tmp_path, monkeypatch):
    """For real, with fewer variants."""
    monkeypatch.setattr(choosing, "VARIANTS", VARIANTS[2:4])
    monkeypatch.setattr("training.trials.grids.choosing.FINALISTS", 1)
    monkeypatch.setattr(choosing, "DRAWS", 2)
    monkeypatch.setattr("training.trials.grids.walk.RUNS", 5)
    only = {"trials": 1, "inits": [str(place / "small")], "targets": ["lidc-nodules"], "fractions": []}
    out = run(place, tmp_path, patients=[2], protocols=["same", "own"], **only)
    same, own = read_results(out).values()
    for row in (same, own):
        assert row["labelled"] == row["patients"]["train"] == 2
        assert 0 < row["fraction"] < 0.5
        assert row["cost"]["parameters"] > 0 < row["cost"]["seconds_a_step"]
    assert same["task"] == own["task"]
    assert ("own" in same, set(own["own"])) == (False, {"lr_factor", "head_first", "share"})
    assert len(choices.read_choices(out)) == 5
    assert not list((out / "unfinished").glob("*"))
    with pytest.raises(InvalidInputError, match="99 labelled patients: expected 1 to"):
        run(place, tmp_path, **(only | {"patients": [99]}))


def test_as_many_patients_as_there_are_is_the_cell_of_all_of_them(task, starts, capsys):
    everybody = len({item.patient for item in in_parts(task.items)["train"]})
    for fractions, left in (([1.0], [everybody - 1, None]), ([], [everybody - 1, everybody])):
        asked = Asked(1, fractions, [everybody - 1, everybody])
        found = [cell for cell in cells([task], starts, asked.labels) if _fits(cell, asked)]
        assert [cell.patients for cell in found] == [number for number in left for _ in starts]
    assert f"{everybody} labelled patients: these are all there are" in capsys.readouterr().out


def test_choices_are_merged_without_doubles(tmp_path):
    for folder, keys in (("a", "xy"), ("b", "yz")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "results.jsonl").touch()
        for key in keys:
            choices.append_choice(tmp_path / folder, {"key": key, "value": 0.5})
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "both")
    assert list(choices.read_choices(tmp_path / "both")) == ["x", "y", "z"]
    assert (tmp_path / "both" / choices.TABLE).read_text(encoding="utf-8").count("\n") == 3


def test_rows_that_were_there_have_the_names_that_are_asked_for(task, starts, tmp_path, monkeypatch):
    monkeypatch.setattr("training.trials.grids.walk.read_results", lambda out: {})
    of = cells([task], starts, [(1.0, None)])
    first = Walk(tmp_path, Pretended()).run(of, 1, ["same"])
    monkeypatch.setattr(
        "training.trials.grids.walk.read_results", lambda out: {k: v | {"init": "old"} for k, v in first.items()}
    )
    assert {row["init"] for row in Walk(tmp_path, Pretended()).run(of, 1, ["same"]).values()} == {
        s.init for s in starts
    }
