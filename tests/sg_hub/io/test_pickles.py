"""Pickles that would keep torch busy without end."""

import io
import pickle
import zipfile

import pytest
import torch

from sg_hub.io.pickles import check_archive, check_legacy


def levels(count: int) -> bytes:
    """The steps of a pickle that make a dictionary whose key is a tuple of two of the tuple before, and so on."""
    steps = [pickle.PROTO, b"\x02", pickle.EMPTY_DICT, pickle.EMPTY_TUPLE]
    for _ in range(count):
        steps += [pickle.DUP, pickle.TUPLE2]
    return b"".join([*steps, pickle.NONE, pickle.SETITEM, pickle.STOP])


def archive(content: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("archive/data.pkl", content)
        zipped.writestr("archive/version", b"3")
    return file


def test_tuples_within_tuples_are_refused_before_they_are_used():
    for check, file in ((check_archive, archive(levels(200))), (check_legacy, io.BytesIO(levels(200)))):
        with pytest.raises(ValueError, match="more than 16 deep"):
            check(file)
    assert check_archive(archive(levels(4))) is None


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves_passes(zipped):
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    content = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "size": torch.Size([1, 2])}
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    assert (check_archive if zipped else check_legacy)(file) is None


def test_nothing_of_a_pickle_is_called(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "made"), "w")

    assert check_archive(archive(pickle.dumps({"a": Evil()}))) is None
    assert not (tmp_path / "made").exists()


def test_two_parts_of_one_name_are_refused():
    file = archive(levels(1))
    with zipfile.ZipFile(file, "a") as zipped, pytest.warns(UserWarning, match="Duplicate"):
        zipped.writestr("archive/data.pkl", levels(200))
    with pytest.raises(ValueError, match="same name"):
        check_archive(file)
