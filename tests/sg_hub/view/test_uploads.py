"""Files that were dropped: nothing is written but below the upload's folder, and no more than the limits allow."""

import io

import pytest

from sg_hub import InvalidInputError, ReadError
from sg_hub.view.uploads import Uploads


def add(uploads, number, name, data=b"abc", length=None):
    uploads.add(number, name, io.BytesIO(data), len(data) if length is None else length)


def test_files_keep_their_names_and_folders(tmp_path):
    uploads = Uploads(tmp_path)
    one, two = uploads.begin(), uploads.begin()
    add(uploads, one, "series 1/Ü-0.dcm", b"0")
    add(uploads, one, "series 1/Ü-0.dcm", b"again")
    add(uploads, two, "series 1/Ü-0.dcm", b"2")
    assert (uploads.path(one) / "series 1" / "Ü-0.dcm").read_bytes() == b"again"
    assert (uploads.path(two) / "series 1" / "Ü-0.dcm").read_bytes() == b"2"
    uploads.drop(one)
    uploads.drop(one)
    assert [path.name for path in tmp_path.iterdir()] == [str(two)]
    with pytest.raises(InvalidInputError, match="no upload"):
        add(uploads, one, "a.nii")


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../a", "a/../../b", "a/./b", "/etc/passwd", "a//b", "a/", ".hidden", "a/.ssh/b"),
        *("..\\a", "C:a", "a\0b", "a\nb", "x" * 201, "ü" * 101, "/".join("a" * 17)),
    ],
)
def test_no_other_name_is_written(tmp_path, name):
    folder = tmp_path / "uploads"
    folder.mkdir()
    uploads = Uploads(folder)
    number = uploads.begin()
    with pytest.raises(InvalidInputError, match="no name that a file can have"):
        add(uploads, number, name)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_link_leads_nowhere_else(tmp_path):
    uploads = Uploads(tmp_path)
    number = uploads.begin()
    (uploads.path(number) / "away").symlink_to(tmp_path)
    with pytest.raises(InvalidInputError, match="no name"):
        add(uploads, number, "away/a")


def test_limits_hold_for_all_uploads_together(tmp_path):
    uploads = Uploads(tmp_path, most_bytes=10, most_files=2)
    one, two = uploads.begin(), uploads.begin()
    add(uploads, one, "a", b"12345678")
    with pytest.raises(InvalidInputError, match="close other scans"):
        add(uploads, two, "b", b"123")
    add(uploads, one, "a", b"1234567890")  # in place of the older one
    uploads.drop(one)
    for name in "ab":
        add(uploads, two, name, b"1")
    with pytest.raises(InvalidInputError, match="more than 2 files"):
        add(uploads, two, "c", b"1")
    add(uploads, two, "b", b"2")


def test_what_ends_early_is_not_kept(tmp_path):
    uploads = Uploads(tmp_path, most_bytes=10)
    number = uploads.begin()
    with pytest.raises(ReadError, match="ended after 3 of 9 bytes"):
        add(uploads, number, "a", b"abc", 9)
    assert list(uploads.path(number).iterdir()) == []
    add(uploads, number, "b", b"1234567890")  # the other one holds no room


def test_a_name_that_is_already_a_folder_is_one_error(tmp_path):
    uploads = Uploads(tmp_path)
    number = uploads.begin()
    add(uploads, number, "a/b")
    with pytest.raises(ReadError):
        add(uploads, number, "a")


class Meanwhile(io.BytesIO):
    """A stream that lets something happen after its first two bytes."""

    def __init__(self, data, happens):
        super().__init__(data)
        self.happens = happens

    def read(self, size=-1):
        if self.tell() != 2:
            return super().read(min(size, 2) if self.tell() == 0 else size)
        self.happens()
        return super().read(size)


def test_two_of_one_name_at_once_are_one_or_the_other(tmp_path):
    uploads = Uploads(tmp_path, most_bytes=20)
    number = uploads.begin()
    uploads.add(number, "a", Meanwhile(b"1111", lambda: add(uploads, number, "a", b"22222222")), 4)
    assert (uploads.path(number) / "a").read_bytes() == b"1111"
    with pytest.raises(ReadError, match="ended after 4 of 9"):
        uploads.add(number, "a", Meanwhile(b"3333", lambda: add(uploads, number, "a", b"444")), 9)
    assert (uploads.path(number) / "a").read_bytes() == b"444"
    add(uploads, number, "b", b"x" * 17)  # nothing else is held
    assert sorted(path.name for path in tmp_path.rglob("*")) == [str(number), "a", "b"]


def test_what_is_being_written_counts_and_is_not_seen(tmp_path):
    uploads = Uploads(tmp_path, most_bytes=10, most_files=2)
    one, two = uploads.begin(), uploads.begin()

    def meanwhile():
        assert list(uploads.path(one).iterdir()) == []
        with pytest.raises(InvalidInputError, match="close other scans"):
            add(uploads, two, "b", b"1234567")
        add(uploads, one, "b", b"1")
        with pytest.raises(InvalidInputError, match="more than 2 files"):
            add(uploads, one, "c", b"1")

    uploads.add(one, "a", Meanwhile(b"1234", meanwhile), 4)


def test_an_upload_that_is_dropped_while_it_is_written_leaves_nothing(tmp_path):
    uploads = Uploads(tmp_path)
    number = uploads.begin()
    with pytest.raises(InvalidInputError, match="no upload"):
        uploads.add(number, "a/b", Meanwhile(b"1111", lambda: uploads.drop(number)), 4)
    assert list(tmp_path.iterdir()) == []
