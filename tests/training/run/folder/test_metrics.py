"""The file of metrics: continued, cut back, and read."""

import errno

import pytest

from sg_hub.errors import ReadError
from training.run.folder import metrics as module
from training.run.folder.metrics import Metrics, read_metrics


@pytest.fixture
def metrics(tmp_path):
    metrics = Metrics(tmp_path / "run" / "metrics.jsonl")
    for epoch in range(3):
        metrics.write(stage="joint", epoch=epoch, loss=0.5)
    return metrics


def test_what_was_written_after_a_checkpoint_is_forgotten(metrics):
    position = metrics.position()
    metrics.write(epoch=3)
    metrics.truncate(position)
    assert [row["epoch"] for row in read_metrics(metrics.path)] == [0, 1, 2]
    metrics.truncate(10**9)
    assert metrics.position() == position


def test_processes_but_the_first_write_nothing(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl", enabled=False)
    metrics.write(epoch=0)
    metrics.truncate(0)
    assert (metrics.position(), read_metrics(metrics.path)) == (0, [])


def test_a_last_line_without_its_end(metrics):
    with open(metrics.path, "a", encoding="utf-8") as file:
        file.write('{"epoch": 3')
    assert len(read_metrics(metrics.path)) == 3


@pytest.mark.parametrize("line", ["{", "3", "[1, 2]", '"text"', "[" * 100_000, '{"epoch": 1e}', "\ufffd"])
def test_a_damaged_line_is_named(metrics, line):
    text = metrics.path.read_text(encoding="utf-8")
    metrics.path.write_text(f"{text}{line}\n", encoding="utf-8")
    with pytest.raises(ReadError, match=r"metrics\.jsonl, line 4 is damaged"):
        read_metrics(metrics.path)


def test_no_text(metrics):
    metrics.path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReadError, match=r"metrics\.jsonl cannot be read"):
        read_metrics(metrics.path)


def test_a_full_disk_is_one_clear_line(metrics, monkeypatch):
    def full(*arguments, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(ReadError, match=r"metrics\.jsonl cannot be written \(No space left on device\)"):
        metrics.write(epoch=3)
    monkeypatch.undo()
    monkeypatch.setattr(module.os, "truncate", full)
    with pytest.raises(ReadError, match=r"metrics\.jsonl cannot be written"):
        metrics.truncate(0)
