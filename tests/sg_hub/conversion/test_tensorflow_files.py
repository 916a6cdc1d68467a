"""Checkpoints of TensorFlow: their files, and what is said without TensorFlow."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from sg_hub import InvalidInputError, ReadError, convert
from sg_hub.conversion.tensorflow_files import index_of, read_tensorflow


@pytest.fixture
def index(tmp_path):
    for ending in ("index", "data-00000-of-00001", "meta"):
        (tmp_path / f"model.ckpt-30.{ending}").write_bytes(b"\0")
    return tmp_path / "model.ckpt-30.index"


@pytest.mark.parametrize("ending", ["", ".index", ".meta", ".data-00000-of-00001"])
def test_a_checkpoint_is_found_by_its_name_and_by_each_of_its_files(index, ending):
    assert index_of(index.with_name(f"model.ckpt-30{ending}")) == index


@pytest.mark.parametrize("name", ["other", "other.index", "model.ckpt-30.index.bak", "other.data-00000-of-00001", ".."])
def test_other_names_are_of_none(index, name):
    assert index_of(index.with_name(name)) is None


def test_without_tensorflow_it_is_said_what_to_do(index, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ReadError, match=r"pip install 'sg_hub\[tensorflow\]'"):
        convert(tmp_path / "model.ckpt-30", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def broken(name):
    raise RuntimeError("Unable to open table file")


def test_a_damaged_checkpoint_is_named(index, monkeypatch):
    tensorflow = ModuleType("tensorflow")
    tensorflow.train = SimpleNamespace(load_checkpoint=broken)
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    with pytest.raises(ReadError, match=r"model\.ckpt-30\.index is damaged, or one of the files beside it is missing"):
        read_tensorflow(index)


def test_half_a_checkpoint_is_refused_as_what_it_is(index, tmp_path):
    index.unlink()
    with pytest.raises((ReadError, InvalidInputError), match=r"data-00000-of-00001 is no file of torch\.save"):
        convert(tmp_path / "model.ckpt-30.data-00000-of-00001", tmp_path / "out")
