"""The table of results: whole lines, keyed rows, tables of several machines in one."""

import json
import shutil
from pathlib import Path

import pytest

from sg_hub.cli import main
from sg_hub.errors import InvalidInputError, ReadError
from tests.support.folders import ROOT
from tests.training.report.rows import row as row_of
from tests.training.run.other_process import at_work
from tests.training.trials.small_grid import QUICK, run
from training.targets import load_target
from training.trials.grids.results import append, by_settings_of, items_of, merge, read_results


def test_a_half_written_last_line_is_dropped(place, finished, tmp_path):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    lines = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    (out / "results.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:50])
    assert len(read_results(out)) == 7
    run(place, out, targets=["lidc-candidates", "lidc-nodules"])
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({row["key"] for row in rows}) == len(rows) == 8


def test_a_damaged_line_is_named(finished, tmp_path):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    lines = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    (out / "results.jsonl").write_bytes(lines[0] + b"{oops\n" + b"".join(lines[1:]))
    with pytest.raises(ReadError, match="line 2 is damaged"):
        read_results(out)


def test_a_line_that_was_changed_by_hand_is_named(tmp_path):
    for trial in range(3):
        append(tmp_path, row_of("a", trial, 0.5))
    lines = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    assert [row["value"] for row in read_results(tmp_path).values()] == [0.5, 0.5, 0.5]
    lines[1] = lines[1].replace('"value": 0.5', '"value": 0.7')
    (tmp_path / "results.jsonl").write_text("".join(lines), encoding="utf-8")
    with pytest.raises(ReadError, match=r"line 2 is damaged \(its checksum is another: .*changed by hand\)"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trial": None}, "trial: Input should be a valid integer"),
        ({"values": {"auc a": 0.5}}, "row: Value error, values: no auc"),
        ({"curve": [["1", 0.5, 1.0]]}, "curve.0.0: Input should be a valid number"),
        ({"key": "../elsewhere"}, "key: String should match"),
        ({"value": 1e999}, "value: Input should be a finite number"),
        ({"values": {"auc": 7}}, "values.auc: Input should be less than or equal to 1"),
        ({"curve": []}, "curve: "),
        ({"settings": {}}, r"settings\.\w+: Field required"),
        ({"items": {"train": 1, "validation": "x", "test": 1}}, "items.validation: "),
        ({"items": {"train": 1, "validation": 1}}, "items.test: Field required"),
    ],
)
def test_a_row_that_says_something_else_is_named(tmp_path, change, said):
    append(tmp_path, row_of("a", 0, 0.5))
    with open(tmp_path / "results.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row_of("a", 1, 0.5) | change) + "\n")
    with pytest.raises(ReadError, match=rf"results\.jsonl, line 2 is damaged \({said}"):
        read_results(tmp_path)


@pytest.mark.parametrize("key", [*row_of("a", 0, 0.5)])
def test_a_row_without_one_of_its_keys_is_named(tmp_path, key):
    row = row_of("a", 0, 0.5)
    del row[key]
    (tmp_path / "results.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(ReadError, match=rf"line 1 is damaged \({key}: Field required"):
        read_results(tmp_path)


def test_rows_of_protocol_2_are_read_with_todays_words():
    rows = read_results(ROOT / "training" / "measured")
    assert len(rows) == 200
    assert [row["protocol"] for row in rows.values()].count(2) == 140  # openkbp-organs and slices are by protocol 3
    assert all(set(row["items"]) == {"train", "validation", "test"} for row in rows.values())


def test_a_long_cut_off_line_is_dropped_too(tmp_path):
    append(tmp_path, row_of("a", 0, 0.5) | {"key": "a", "filler": "x" * 200_000})
    with open(tmp_path / "results.jsonl", "ab") as file:
        file.write(b'{"key": "b", "filler": "' + b"y" * 150_000)
    append(tmp_path, row_of("a", 1, 0.5) | {"key": "c"})
    assert list(read_results(tmp_path)) == ["a", "c"]


def test_tables_merge_without_doubles(place, finished, tmp_path, capsys):
    first = run(place, tmp_path / "first", trials=2)
    second = run(place, tmp_path / "second", trials=3, inits=[str(place / "small")])
    whole = tmp_path / "whole"
    assert main(["merge", str(first), str(second), str(finished), "--out", str(whole)]) == 0
    assert "9 trials added, 6 were there already" in capsys.readouterr().out
    assert set(read_results(whole)) == {*read_results(first), *read_results(second), *read_results(finished)}
    assert all((whole / "trials" / key / "examples.npz").is_file() for key in read_results(whole))
    assert merge([first, second, finished], whole) == (0, 15)
    assert merge([whole], first) == (5, 4)
    with pytest.raises(ReadError, match="holds no results"):
        merge([tmp_path], whole)


def test_the_items_of_a_trial_are_those_that_its_row_answers_for(tmp_path):
    first, second, whole = (tmp_path / name for name in ("first", "second", "whole"))
    append(first, row_of("a", 0, 0.5), {"items.jsonl": b'{"item": "x", "iou": [0.5]}\n'})
    second.mkdir()
    append(second, row_of("b", 0, 0.5))
    merge([first, second], whole)
    one, other = read_results(whole).values()
    assert items_of(whole, one) == [{"item": "x", "iou": [0.5]}]
    assert items_of(whole, other) is None
    place = whole / "trials" / one["key"] / "items.jsonl"
    place.write_text('{"item": "x", "iou": [0.9]}\n', encoding="utf-8")
    with pytest.raises(ReadError, match=r"items\.jsonl is damaged \(its checksum is another"):
        items_of(whole, one)
    del one["files_sha256"]  # an older row, which says nothing of them
    assert items_of(whole, one) == [{"item": "x", "iou": [0.9]}]


def test_a_trial_is_of_the_settings_of_today_or_not(finished):
    row = next(row for row in read_results(finished).values() if row["target"] == "lidc-candidates")
    asked = load_target("lidc-candidates", ["root=elsewhere", "title=Another title", *QUICK])
    assert by_settings_of(row, asked)
    assert not by_settings_of(row, load_target("lidc-candidates", [*QUICK, "settings.lr=9"]))
    assert not by_settings_of(row, load_target("lidc-candidates", [*QUICK, "splits.seed=9"]))
    del row["settings"]["settings"]["keep"]  # older than that key
    assert by_settings_of(row, asked)


def test_two_benchmarks_do_not_write_to_one_folder(place, tmp_path):
    with at_work(tmp_path), pytest.raises(InvalidInputError, match="is in use by process"):
        run(place, tmp_path)
