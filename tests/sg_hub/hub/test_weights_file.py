"""Files of weights: what a header may say, and every way in which one lies."""

import json
import re

import pytest
import torch
from safetensors.torch import save_file

from sg_hub import ReadError
from sg_hub.hub.weights_file import read_weights, weights_header

STATE = {"a.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3), "b": torch.tensor(7), "c": torch.zeros(0, 4)}


@pytest.fixture
def file(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / "model.safetensors"


def parts(file):
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write(file, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_the_header_gives_types_and_shapes(file):
    expected = {"a.weight": (torch.float32, (2, 3)), "b": (torch.int64, ()), "c": (torch.float32, (0, 4))}
    assert weights_header(file) == expected
    state, sha256 = read_weights(file, None)
    assert all(torch.equal(state[key], value) for key, value in STATE.items())
    assert read_weights(file, sha256)[1] == sha256


def changed(**changes):
    def change(header, data):
        return header | {"a.weight": header["a.weight"] | changes}, data

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed(shape=[2, 4]), "does not fit bytes"),
        (changed(shape=[2, 3, 0]), "does not fit bytes"),
        (changed(shape=[1 << 40, 1 << 40]), "does not fit bytes"),
        (changed(shape=[-2, -3]), "has the shape"),
        (changed(shape=[2.0, 3]), "has the shape"),
        (changed(shape=[True, 6]), "has the shape"),
        (changed(shape="23"), "has the shape"),
        (changed(shape=[1] * 100_000), "has the shape"),
        (changed(dtype="F8_E4M3"), "is of type F8_E4M3"),
        (changed(dtype="F4"), "is of type F4"),
        (changed(dtype=["F32"]), "is of type"),
        (changed(dtype="F16"), "does not fit bytes"),
        (changed(data_offsets=[0, 24, 24]), "has the shape"),
        (changed(data_offsets=[24, 0]), "does not fit bytes"),
        (changed(data_offsets=[0, 10**400]), "has the shape"),
        (changed(data_offsets=[0, 24]), "do not follow one another"),
        (changed(data_offsets=[16, 40]), "do not follow one another"),
        (lambda header, data: (header | {"d": header["a.weight"]}, data), "do not follow one another"),
        (lambda header, data: (header | {"a.weight": None}, data), "no type, shape or place"),
        (lambda header, data: (header | {"a.weight": {"dtype": "F32"}}, data), "no type, shape or place"),
        (lambda header, data: (header, data + b"x"), "it has 33 for them"),
        (lambda header, data: (header, data[:-1]), "it has 31 for them"),
        (lambda header, data: ([], data), "no JSON object"),
        (lambda header, data: (b"{", data), "no JSON"),
        (lambda header, data: (b"[" * 100_000, data), "no JSON"),
        (lambda header, data: (b"\xff\xfe", data), "no JSON"),
        (lambda header, data: (b'{"a": ' + b"1" * 5000 + b"}", data), "no JSON"),
    ],
)
def test_a_header_that_lies_is_named_and_no_data_are_read(file, change, words):
    write(file, *change(*parts(file)))
    for read in (weights_header, lambda path: read_weights(path, None)):
        with pytest.raises(ReadError, match=words) as error:
            read(file)
        assert str(file) in str(error.value)
        assert len(str(error.value)) < len(str(file)) + 400


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"1234567", "7 bytes"),
        (b"\xff" * 8, "8 bytes"),
        ((1 << 62).to_bytes(8, "little") + b"{}", "10 bytes"),
        ((17 << 20).to_bytes(8, "little") + b" " * (17 << 20), "more than any network needs"),
    ],
)
def test_a_file_that_is_too_short_or_all_header(tmp_path, data, words):
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(ReadError, match=words):
        weights_header(tmp_path / "a.safetensors")


def test_what_is_no_file(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ReadError, match=re.escape(str(path))):
            weights_header(path)


def test_every_flipped_bit_of_the_header_is_the_same_weights_or_a_clear_error(file):
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    for position in range(8 + length):
        for bit in (0, 3, 6):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            file.write_bytes(flipped)
            try:
                read_weights(file, None)
            except ReadError as error:
                assert str(file) in str(error)  # noqa: PT017
