"""Keras files: which are read, and what of a file is never followed."""

import numpy as np
import pytest
import torch

from sg_hub import ReadError, convert
from sg_hub.conversion import keras_file
from sg_hub.conversion.keras_file import read_keras
from tests.sg_hub.conversion.published import write_keras

h5py = pytest.importorskip("h5py", reason="h5py is in the extra [convert]")
DENSE = {"kernel": np.arange(6, dtype=np.float64).reshape(2, 3), "bias": np.zeros(3, np.float16)}


def test_layers_by_kind_in_order_of_construction(tmp_path):
    layers = read_keras(write_keras(tmp_path / "a.h5", [("dense", DENSE)] * 12))
    assert [layer.name for layer in layers["dense"]] == [f"dense_{number}" for number in range(1, 13)]
    assert layers["conv3d"] == layers["batch_normalization"] == []
    assert torch.equal(layers["dense"][0].weights["kernel"], torch.arange(6.0).reshape(2, 3))
    assert layers["dense"][0].weights["bias"].dtype == torch.float32


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    (tmp_path / "start.h5").write_bytes(b"\x89HDF\r\n\x1a\n and nothing more")
    with pytest.raises(ReadError, match="damaged"):
        convert(tmp_path / "start.h5", tmp_path / "out")
    data = write_keras(tmp_path / "a.h5", [("dense", DENSE)]).read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(ReadError, match="damaged"):
        convert(tmp_path / "cut.h5", tmp_path / "out")


def test_without_h5py_the_message_says_what_to_install(tmp_path, monkeypatch):
    file = write_keras(tmp_path / "a.h5", [])
    monkeypatch.setattr(keras_file, "find_spec", lambda name: None)
    with pytest.raises(ReadError, match="pip install h5py"):
        convert(file, tmp_path / "out")


def test_a_file_that_the_library_never_comes_back_from_is_given_up(tmp_path, monkeypatch):
    file = write_keras(tmp_path / "a.h5", [("dense", DENSE)])
    reader = tmp_path / "hdf5_reader.py"
    reader.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGXCPU)\n", encoding="utf-8")
    monkeypatch.setattr(keras_file, "__file__", str(tmp_path / "keras_file.py"))
    with pytest.raises(ReadError, match=r"a\.h5 is damaged, or no Keras file .*gave up"):
        read_keras(file)


def change(file, layer="dense_1"):
    """Take the kernel of a layer out of a file, for another one."""
    kernel = f"model_weights/{layer}/{layer}/kernel:0"
    del file[kernel]
    return kernel


def packed(file, other):
    file.create_dataset(change(file), (1 << 14, 1 << 14), "f4", fillvalue=0, chunks=(1 << 10, 1 << 10), compression=9)


def external(file, other):
    file.create_dataset(change(file), (2, 3), "f8", external=[(str(other), 0, 48)])


def virtual(file, other):
    layout = h5py.VirtualLayout((2, 3), "f8")
    layout[:] = h5py.VirtualSource(str(other), "x", (2, 3))
    file.create_virtual_dataset(change(file), layout)


def linked(file, other):
    file[change(file)] = h5py.ExternalLink(str(other), "x")


def elsewhere(file, other):
    del file["model_weights"]
    file["model_weights"] = h5py.ExternalLink(str(other), "/")


def looped(file, other):
    file["model_weights/dense_1/again"] = h5py.SoftLink("/model_weights")


def words(file, other):
    file[change(file)] = np.array([b"a", b"b"])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (packed, "not in this file, or larger than it"),
        (external, "not in this file, or larger than it"),
        (virtual, "not in this file, or larger than it"),
        (linked, None),
        (looped, None),
        (elsewhere, None),
        (words, "damaged"),
    ],
)
def test_nothing_outside_the_file_is_read_and_nothing_that_is_larger(tmp_path, spoil, said):
    other = tmp_path / "secret"
    with h5py.File(other, "w") as file:
        file["x"] = np.full((2, 3), 42.0)
    path = write_keras(tmp_path / "a.h5", [("dense", DENSE)])
    with h5py.File(path, "a") as file:
        spoil(file, other)
    if said is not None:
        with pytest.raises(ReadError, match=said):
            read_keras(path)
    else:
        found = [value for layer in read_keras(path)["dense"] for value in layer.weights.values()]
        assert bool(found) == (spoil is not elsewhere)
        assert not any(bool((value == 42).any()) for value in found)


@pytest.mark.parametrize("config", ["{", "[" * 100_000, '{"class_name": "BatchNormalization"}', "null"])
def test_a_description_that_is_damaged(tmp_path, config):
    path = write_keras(tmp_path / "a.h5", [("dense", DENSE)])
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = config
    if config == "null":
        assert read_keras(path)["dense"]
    else:
        with pytest.raises(ReadError, match=r"a\.h5 is damaged"):
            read_keras(path)
