"""Files of torch.save that are made to hurt: none is unpacked past its size, and each is named."""

import pickle
import struct
import zipfile

import pytest
import torch

from sg_hub import InvalidInputError, ReadError, convert
from sg_hub.conversion.torch_files import read_torch
from tests.support.memory import peak_growth


def repacked(path, change):
    """The archive with its entries changed: `change(name, data)` gives (data, how it is stored)."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries:
            data, how = change(name, data)
            archive.writestr(name, data, compress_type=how)


@pytest.fixture
def file(tmp_path):
    torch.save({"state_dict": {"a": torch.arange(4.0)}}, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_a_state_dict_is_read_bare_or_under_its_key(file, tmp_path):
    torch.save({"a": torch.arange(4.0)}, tmp_path / "bare.pt")
    for path in (file, tmp_path / "bare.pt"):
        assert read_torch(path, zipped=True).keys() == {"a"}


def packed(name, data):
    return (bytes(1 << 28) if "/data/" in name else data), zipfile.ZIP_DEFLATED


def test_an_archive_that_unpacks_to_more_than_it_is(file):
    repacked(file, packed)
    assert file.stat().st_size < 1 << 20
    with pytest.raises(ReadError, match=r"a\.pt is damaged.*more than the file, or are compressed"):
        read_torch(file, zipped=True)


def test_sizes_that_an_archive_only_claims(file):
    data = bytearray(file.read_bytes())
    start = data.index(b"PK\x01\x02")  # of the table at the end: sizes stand 20 bytes on
    struct.pack_into("<II", data, start + 20, 0xFFFFFFF0, 0xFFFFFFF0)
    file.write_bytes(data)
    with pytest.raises(ReadError, match=r"a\.pt is damaged"):
        read_torch(file, zipped=True)


def test_a_storage_that_is_said_to_be_huge(file):
    def larger(name, data):
        return data.replace(b"K\x04", b"J" + struct.pack("<i", 1 << 30)), zipfile.ZIP_STORED

    repacked(file, larger)
    with pytest.raises(ReadError, match=r"a\.pt is damaged"):
        read_torch(file, zipped=True)


def test_one_number_that_is_seen_as_terabytes_is_never_spread_out(tmp_path):
    huge = torch.zeros(1).expand(1 << 20, 1 << 20)
    for name, words in (
        ("a", "it holds a;"),
        ("layer1.0.conv1.weight", r"layer1.0.conv1.weight has \(1048576, 1048576\)"),
    ):
        torch.save({name: huge}, tmp_path / "a.pt")
        with pytest.raises(InvalidInputError, match=words):
            convert(tmp_path / "a.pt", tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({("a", "b"): torch.zeros(1)}, "keys that are no text"),
        ({"a": torch.zeros(1), 7: torch.zeros(1)}, "keys that are no text"),
        ({"a": torch.zeros(1), "b": "words"}, "b is a str"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "expected a dense tensor"),
        ([torch.zeros(1)], "holds a list"),
        ({"x" * 100_000: 1}, "no state dict"),
        ({"a": torch.zeros(1), "y" * 100_000: 1}, "is a int"),
    ],
)
def test_other_contents_are_named_in_a_few_words(tmp_path, content, words):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(InvalidInputError, match=words) as error:
        read_torch(tmp_path / "a.pt", zipped=True)
    assert len(str(error.value)) < 600


def test_an_old_file_with_a_huge_storage_takes_no_memory(tmp_path):
    torch.save({"a": torch.arange(4.0)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    data = (tmp_path / "a.pt").read_bytes()
    old = pickle.dumps(4, protocol=2)[2:-1]
    assert old == b"K\x04"
    (tmp_path / "a.pt").write_bytes(data.replace(old, b"J" + struct.pack("<i", (1 << 30) - 1)))

    def read():
        with pytest.raises((ReadError, InvalidInputError), match=r"a\.pt"):
            read_torch(tmp_path / "a.pt", zipped=False)

    assert peak_growth(read) < 500
