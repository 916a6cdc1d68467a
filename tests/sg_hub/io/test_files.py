"""Files that are written."""

import os
import signal
import threading

import numpy as np
import pytest

from sg_hub import from_pretrained, load_image, load_scan
from sg_hub.errors import InvalidInputError
from sg_hub.io import files
from sg_hub.io.files import LABEL_MAPS, check_output, given_path, remove_unfinished, working_folder, writing
from tests.support.folders import DEMO_SAMPLES

CT = DEMO_SAMPLES / "openkbp" / "ct" / "pt_201.nii.gz"


@pytest.mark.parametrize("suffix", LABEL_MAPS)
def test_label_maps_of_every_allowed_suffix_can_be_written(tmp_path, suffix):
    scan = load_scan(CT)
    labels = np.zeros(scan.size, dtype=np.uint8)
    assert scan.save(labels, check_output(tmp_path / f"labels{suffix}", LABEL_MAPS)).is_file()


def test_a_write_that_fails_leaves_the_older_file(tmp_path):
    path = tmp_path / "result.npy"
    path.write_bytes(b"older")

    def fail(error):
        with writing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(OSError, match=r"cannot be written \(No space left\)"):
        fail(OSError(28, "No space left"))
    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt())
    assert path.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["result.npy"]
    with pytest.raises(InvalidInputError, match=r"\.csv"):
        check_output(path, [".csv"])


@pytest.mark.parametrize("path", ["a\nb", "a\rb", "a\x1b[2Jb", "a\u2028b"])
def test_names_that_break_lines_are_refused(path):
    with pytest.raises(InvalidInputError, match="control characters"):
        given_path(path, "a file")


@pytest.mark.parametrize("use", [load_scan, load_image, from_pretrained])
def test_an_empty_path_is_not_the_current_folder(use):
    with pytest.raises(InvalidInputError, match="the path is empty"):
        use("")


def test_names_that_no_file_can_have_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="a name longer than files can have"):
        check_output(tmp_path / ("n" * 250 + ".nii.gz"), (".nii.gz",))
    assert check_output(tmp_path / ("\u00fc" * 124 + ".nii.gz"), (".nii.gz",))
    with pytest.raises(InvalidInputError, match="a name longer than files can have"):
        check_output(tmp_path / ("\u00fc" * 125 + ".nii.gz"), (".nii.gz",))


@pytest.mark.parametrize("letter", ["n", "\u00fc", "\u80ba", "\U0001fac1"])
def test_the_longest_names_are_written(tmp_path, letter):
    path = tmp_path / (letter * (248 // len(letter.encode())) + ".nii.gz")
    with writing(check_output(path, (".nii.gz",))) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == [path.name]


def test_what_a_killed_process_left_of_its_work_is_cleared_away(tmp_path):
    child = os.fork()
    if child == 0:
        with working_folder(tmp_path):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(os.listdir(tmp_path)) == 1
    with working_folder(tmp_path) as folder:
        assert os.listdir(tmp_path) == [folder.name]
        remove_unfinished(tmp_path)
        assert folder.is_dir(), "whose process lives"
    assert os.listdir(tmp_path) == []


def test_before_a_file_is_written_what_killed_processes_left_beside_it_is_cleared_away(tmp_path):
    child = os.fork()
    if child == 0:
        with writing(tmp_path / "a"):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".unfinished-")
    with writing(tmp_path / "b") as file:
        file.write(b"x")
    assert os.listdir(tmp_path) == ["b"]


def test_two_threads_that_write_one_path_leave_one_whole_file(tmp_path):
    path, texts = tmp_path / "a.txt", [b"a" * 9, b"b" * 5]
    both_write = threading.Barrier(2, timeout=10)

    def write(text):
        with writing(path) as file:
            file.write(text[:3])
            file.flush()
            both_write.wait()
            file.write(text[3:])

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert path.read_bytes() in texts
    assert os.listdir(tmp_path) == ["a.txt"]


def test_machines_of_one_name_have_names_of_their_own_for_what_is_unfinished(monkeypatch):
    prefixes = set()
    for space in ("pid:[1]", "pid:[2]"):
        monkeypatch.setattr(files.os, "readlink", lambda path, space=space: space)
        files._machine.cache_clear()
        prefixes.add(files._own_prefix())
    files._machine.cache_clear()
    assert len(prefixes) == 2
