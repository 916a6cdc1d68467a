"""A small share of the fuzzing, the kills and the faults; `make reliability` runs the whole."""

import json
import os
import subprocess
import sys

import pytest

from tests.reliability.__main__ import KINDS, SHARE
from tests.support.folders import ROOT


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """Run in a process that has no threads, from which others are forked."""
    file = tmp_path_factory.mktemp("share") / "counts.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability", "--share", "--json", str(file)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert file.is_file(), done.stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    bad = sum(row["bad"] for rows in found.values() for row in rows.values())
    assert done.returncode == (1 if bad else 0)
    return found


def test_damaged_files_are_read_or_refused_in_words(counts):
    assert {name: row["examples"] for name, row in counts["fuzz"].items() if row["bad"]} == {}
    number, names = SHARE["fuzz"]
    expected = {name: max(1, round(number * KINDS[name].weight)) for name in names}
    assert {name: row["total"] for name, row in counts["fuzz"].items()} == expected
    assert sum(row["classes"].get("ok", 0) for row in counts["fuzz"].values()) > 10
    assert sum(row["classes"].get("clear", 0) for row in counts["fuzz"].values()) > 10


def test_a_kill_changes_nothing_of_what_the_next_run_gives(counts):
    number, names = SHARE["kills"]
    assert counts["kills"].keys() == set(names)
    assert {name: row["examples"] for name, row in counts["kills"].items() if row["bad"]} == {}
    assert all(row["total"] == number for row in counts["kills"].values())
    assert any(row["classes"].get("equal") for row in counts["kills"].values())


def test_a_fault_ends_in_a_clear_error_and_the_older_files_stay(counts):
    assert counts["faults"].keys() >= {"flipped bit", "cut file", "NaN", "two writers"}
    assert {name: row["examples"] for name, row in counts["faults"].items() if row["bad"]} == {}
    assert any(row["classes"].get("clear") for row in counts["faults"].values())
