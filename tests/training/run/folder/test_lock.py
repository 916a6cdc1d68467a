"""One process at a time in a folder."""

import pytest

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io import files
from tests.training.run.other_process import at_work
from training.run.folder.lock import LOCK, run_lock


def test_the_second_process_is_told_who_is_there(tmp_path):
    with at_work(tmp_path / "run") as other:
        with pytest.raises(InvalidInputError) as error, run_lock(tmp_path / "run"):
            pass
        said = str(error.value)
        assert f"{tmp_path / 'run'} is in use by process {other.pid} on " in said
        assert "`-c " in said
        assert "\n" not in said
    with run_lock(tmp_path / "run"):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    with at_work(tmp_path) as other:
        other.kill()
        other.wait()
        with run_lock(tmp_path):
            assert (tmp_path / LOCK).is_file()


def test_who_is_there_may_be_unknown(tmp_path):
    with at_work(tmp_path):
        (tmp_path / LOCK).write_text("", encoding="utf-8")
        with pytest.raises(InvalidInputError, match="in use by another process"), run_lock(tmp_path):
            pass


def test_a_command_may_take_its_own_lock_again(tmp_path):
    with run_lock(tmp_path):
        with run_lock(tmp_path):
            pass
        with run_lock(str(tmp_path)):
            pass
    with at_work(tmp_path), pytest.raises(InvalidInputError, match="in use"), run_lock(tmp_path):
        pass


def test_under_torchrun_the_first_process_has_it_for_all(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with at_work(tmp_path), run_lock(tmp_path):
        pass


def test_what_killed_processes_left_is_cleared_away(tmp_path, monkeypatch):
    (tmp_path / "pretraining").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "getpid", lambda: 2**22 + 5)  # of no process: Linux has no higher number than 2 ** 22
        names = [folder / f"{files._own_prefix()}checkpoint.pt" for folder in (tmp_path, tmp_path / "pretraining")]
    for name in names:
        name.write_bytes(b"half")
    own = tmp_path / f"{files._own_prefix()}model"
    own.write_bytes(b"being written")
    with run_lock(tmp_path):
        assert [name.exists() for name in names] == [False, False]
        assert own.exists()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ReadError, match=r"file.run cannot be written"), run_lock(tmp_path / "file" / "run"):
        pass


def test_of_a_mistake_nothing_is_left(tmp_path):
    with run_lock(tmp_path / "run"):
        assert (tmp_path / "run" / LOCK).is_file()
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    with run_lock(tmp_path / "run"):
        pass
    assert (tmp_path / "run").is_dir(), "it was there before"
    with run_lock(tmp_path / "other"):
        (tmp_path / "other" / "result").write_text("", encoding="utf-8")
    assert (tmp_path / "other" / "result").is_file()
