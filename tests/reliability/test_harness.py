"""What the harness tells apart, and that its inputs can be made again."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sg_hub.errors import ReadError
from tests.reliability.__main__ import KINDS
from tests.reliability.counts import Counts, table
from tests.reliability.fuzz.mutations import edit_json
from tests.reliability.harness import Input, Kind, Limits, run
from tests.reliability.processes import Fork, at_change, of_a_fork
from tests.support.folders import ROOT


def fine(path):
    assert path.read_bytes() == b"x"


def refuse(path):
    raise ReadError(f"{path} is no file of ours")


def refuse_without_a_name(path):
    raise ReadError("no file of ours")


def refuse_at_length(path):
    raise ReadError(f"{path}: {'x' * 100_000}")


def fail(path):
    raise ValueError("not foreseen")


def crash(path):
    os.kill(os.getpid(), signal.SIGSEGV)


def run_for_ever(path):
    while True:
        pass


def fill_memory(path):
    assert len(b"x" * (300 << 20)) > 0


def leave_a_file(path):
    (path.parent / "left").write_bytes(b"x")


def write_outside(path):
    place = path.parents[2] / "outside"
    place.write_bytes(b"x")
    place.unlink()


@pytest.mark.parametrize(
    ("parse", "kind"),
    [
        (fine, "ok"),
        (refuse, "clear"),
        (refuse_without_a_name, "unnamed"),
        (refuse_at_length, "long"),
        (fail, "raw"),
        (crash, "crash"),
        (run_for_ever, "hang"),
        (fill_memory, "memory"),
        (leave_a_file, "outside"),
        (write_outside, "outside"),
    ],
)
def test_the_classes_are_told_apart(parse, kind):
    given = [Input(f"{number}", {"a": b"x"}, "a") for number in range(2)]
    limits = Limits(seconds=0.5 if kind == "hang" else 30, memory=200 << 20)  # the others end by themselves
    counts = run(Kind(parse, lambda rng: ({"a": b"x"}, "a"), limits), given)
    assert counts.classes == {kind: 2}, counts.examples
    assert counts.bad == (0 if kind in ("ok", "clear") else 2)


def test_inputs_can_be_made_again():
    for name in ("nifti", "nrrd", "picture", "recipe", "patterns", "results.jsonl", "registry.json"):
        kind = KINDS[name]
        all_of_them = [one.files for one in kind.inputs(name, 4, seed=5)]
        assert [one.files for one in kind.inputs(name, 2, seed=5, first=2)] == all_of_them[2:]


def test_a_value_is_put_into_one_place_alone():
    for seed in range(3000):
        json.dumps(edit_json({"a": [1, {"b": 2}], "c": {}}, random.Random(seed)))
    assert edit_json({"a": 1}, random.Random(4)) == edit_json({"a": 1}, random.Random(4))


def test_counts_keep_a_few_examples():
    counts = Counts(("ok",))
    for number in range(20):
        counts.add("raw", f"input {number}")
    counts.add("ok", "")
    assert (counts.total, counts.bad, len(counts.examples["raw"])) == (21, 20, 5)
    assert table("parser", ("ok", "raw", "hang"), {"a": counts}).splitlines() == [
        "| parser | all | ok | raw |",
        "| --- | ---: | ---: | ---: |",
        "| a | 21 | 1 | 20 |",
        "| together | 21 | 1 | 20 |",
    ]


def test_a_fork_says_how_it_ended_and_what_it_printed(tmp_path):
    ends = {lambda: 3: 3, lambda: 1 // 0: 70, lambda: os.kill(os.getpid(), signal.SIGKILL): -signal.SIGKILL}
    for number, (work, status) in enumerate(ends.items()):
        fork = Fork(work, tmp_path, tmp_path / f"tmp{number}")
        assert fork.wait(20)
        assert fork.end()
        assert fork.status == status
        assert ("ZeroDivisionError" in fork.said) == (status == 70)
    assert of_a_fork(lambda: [1, 2]) == [1, 2]


def test_processes_that_outlive_a_fork_are_seen(tmp_path):
    def work():
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        return 0

    fork = Fork(work, tmp_path, tmp_path / "tmp", patience=0.2)
    assert fork.wait(20)
    assert not fork.end()


def test_a_fork_killed_while_it_draws_a_bar_stops_no_other(tmp_path):
    """As in the process that forks, which is prepared, and of which this one is no copy."""
    program = f"""
import signal, sys, threading, time
from pathlib import Path
from tqdm import tqdm
from tests.reliability.processes import Fork, prepare_process

folder = Path({str(tmp_path)!r})
prepare_process(folder)
with tqdm(total=1, file=sys.stdout):
    pass
assert threading.active_count() == 1

def draw():
    tqdm.get_lock().acquire()
    (folder / "drawing").touch()
    time.sleep(100)

fork = Fork(draw, folder, folder / "tmp")
assert not fork.wait(50, (folder / "drawing").exists)
fork.send(signal.SIGKILL)
assert fork.wait(10)
tqdm.write("goes on")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1:] == ["goes on"], done.stderr


def test_every_change_of_files_is_seen_before_it_happens(tmp_path):
    def work():
        seen = []
        count = at_change(lambda number, place: seen.append((number, Path(place).name)), tmp_path)
        (tmp_path / "a").write_bytes(b"x")
        (tmp_path / "a").read_bytes()
        os.replace(tmp_path / "a", tmp_path / "b")
        (tmp_path / "b").unlink()
        Path(os.devnull).write_bytes(b"x")
        return seen, count()

    assert of_a_fork(work) == ([(1, "a"), (2, "a"), (3, "b")], 3)
