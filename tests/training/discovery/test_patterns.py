"""The patterns table and its file."""

import numpy as np
import pytest

from sg_hub.errors import ReadError
from tests.training.discovery.conftest import names
from training.discovery.patterns import SPLITS, PatternTable, columns


def table_of(rows: int = 6) -> PatternTable:
    lines = [(i % 3, 2 - i % 2, 2, i, 2 * i, 3, 12, 12, 8, i % 2, i % 3) for i in range(rows)]
    return PatternTable.from_rows(["never used", "a, b", 'the "c"'], lines)


@pytest.mark.parametrize("far", [7, 40000])
def test_the_table_survives_its_file(tmp_path, far):
    lines = [(0, 2, 2, 1, 2, far, 12, 12, 8, 0, 0), (1, 1, 2, 4, 5, 6, 12, 14, 8, 2, 2)]
    table = PatternTable.from_rows(["never used", "a, b", 'the "c"'], lines)
    table.save(tmp_path / "new" / "t.csv")
    again = PatternTable.load(str(tmp_path / "new" / "t.csv"))
    assert names(again, again.patient) == ['the "c"', "a, b"]
    assert names(again, again.reference) == ['the "c"'] * 2
    for column in ("pattern", "corner", "size", "resolution", "split"):
        np.testing.assert_array_equal(getattr(again, column), getattr(table, column))
    assert again.corner[0].tolist() == [1, 2, far]
    assert again.classes == 2
    assert again.fingerprint == table.fingerprint
    again.save(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "new" / "t.csv").read_bytes()


def test_the_tables_fingerprint_follows_its_rows():
    row = [0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1]
    seen = {PatternTable.from_rows(["p", "q", "r"], [tuple(row)]).fingerprint}
    for column in (0, 1, 3, 4, 5, 6, 7, 8, 10):
        changed = [*row]
        changed[column] += 1
        seen.add(PatternTable.from_rows(["p", "q", "r"], [tuple(changed)]).fingerprint)
    seen.add(PatternTable.from_rows(["p", "other", "r"], [tuple(row)]).fingerprint)
    assert len(seen) == 11


def test_rows_of_a_split():
    table = table_of()
    assert [table.rows(split).tolist() for split in SPLITS] == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0,a,a,1,2,3,12,12", r"line 3 .*8 values instead of 11"),
        ("0,a,a,1,2,3,12,12,8,0,train,more", r"line 3 .*12 values"),
        ("0,a,a,1,2,3,12,12,0,train", "line 3"),
        ("0,a,a,1,2,x,12,12,8,0,train", "line 3"),
        ("0,a,a,1,2,3.5,12,12,8,0,train", "line 3"),
        ("0,a,a,1,2,3,12,12,8,0,tra", "line 3"),
        ("0,a,a,1,2,3,12,0,8,0,train", r"line 3 .*a size of 0"),
        ("0,,a,1,2,3,12,12,8,0,train", r"line 3 .*a patient without a name"),
        ("0,a,,1,2,3,12,12,8,0,train", r"line 3 .*a patient without a name"),
        ("", "line 3"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, line, said):
    path = tmp_path / "t.csv"
    good = "0,a,a,1,2,3,12,12,8,0,train"
    path.write_text("\n".join([",".join(columns(3)), good, line, good]) + "\n", encoding="utf-8")
    with pytest.raises(ReadError, match=said):
        PatternTable.load(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a patterns table"),
        (b"patient,split\na,train\n", "not a patterns table"),
        (b"\xff\xfe\x00", "damaged"),
        ((",".join(columns(3)) + "\n").encode(), "has no rows"),
    ],
)
def test_files_that_are_no_table(tmp_path, content, said):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ReadError, match=said):
        PatternTable.load(tmp_path / "t.csv")
    with pytest.raises(ReadError, match=r"not there yet: run `sg-hub discover` first"):
        PatternTable.load(tmp_path / "nothing.csv")


@pytest.mark.parametrize("value", ["-1", str(2**40), "9" * 40])
@pytest.mark.parametrize("column", ["pattern", "x", "size_z", "resolution"])
def test_numbers_that_cannot_be_are_refused_with_their_line(tmp_path, column, value):
    table_of().save(tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()
    place = {"pattern": 0, "x": 1, "size_z": 6, "resolution": 7}[column]
    cells = lines[2].split(",", 1) if column == "pattern" else lines[2].rsplit(",", 8)
    cells[place] = value
    lines[2] = ",".join(cells)
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(ReadError, match=r"t\.csv line 3 is damaged"):
        PatternTable.load(tmp_path / "t.csv")
