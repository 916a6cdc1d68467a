"""CSVs as people and spreadsheets write them."""

import pytest

from sg_hub.errors import ReadError
from training.data.csv_table import columns_of, numbered_rows, read_csv


@pytest.mark.parametrize(
    "text",
    [
        "image,label,split\na,1,test\n",
        "Image;LABEL;Split\na;1;test\n",
        " image \tlabel\tsplit\na\t 1\ttest\n",
        '"image";"label";"split"\r\n"a";"1";"test"\r\n;;\r\n',
    ],
)
def test_separators_and_capitals_do_not_matter(tmp_path, text):
    table = tmp_path / "t.csv"
    table.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_csv(table, ("image", "label"), ("split",)) == [{"image": "a", "label": "1", "split": "test"}]
    assert [name.lower() for name in columns_of(table, ("image",))] == ["image", "label", "split"]


def test_lines_are_those_of_the_file(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text('a,b\n1,"two\nlines"\n\n2,x\n')
    assert numbered_rows(table, ("a", "b")) == [(3, {"a": "1", "b": "two\nlines"}), (5, {"a": "2", "b": "x"})]


def test_lines_before_the_names_do_not_matter(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("\n;;\nsep=;\nimage;label;size (x,y,z)\na;1;2\n")
    assert numbered_rows(table, ("image", "label")) == [(5, {"image": "a", "label": "1", "size (x,y,z)": "2"})]
    assert columns_of(table, ("image", "label")) == ["image", "label", "size (x,y,z)"]


def test_names_that_differ_by_capitals_alone_stay_apart_where_both_are_asked_for(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,A\n1,2\n")
    assert read_csv(table, ("a", "A")) == [{"a": "1", "A": "2"}]


@pytest.mark.parametrize(("near", "meant"), [("splits", "split"), ("patient_id", "patient"), ("Patients", "patient")])
def test_a_column_of_nearly_the_name_that_counts_is_refused(tmp_path, near, meant):
    table = tmp_path / "t.csv"
    table.write_text(f"image,{near}\na,b\n")
    with pytest.raises(ReadError, match=f"'{near}', which is not read, and none called '{meant}'"):
        read_csv(table, ("image",), ("patient", "split"))
    table.write_text(f"image,{near},{meant},Patient Age\na,b,c,d\n")
    assert read_csv(table, ("image",), (meant,))[0][meant] == "c"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,Image\na,b\n", "two columns 'image'"),
        ("image,label\na,b,c\n", "line 2: 3 values for 2 columns"),
        ("image;label\na\n", "line 2: 1 values for 2 columns"),
        ("picture;label\na;b\n", "lacks the column 'image' .it has picture, label."),
        ("", "lacks the column 'image' .it has none."),
    ],
)
def test_what_makes_no_table_is_refused(tmp_path, text, said):
    table = tmp_path / "t.csv"
    table.write_text(text)
    with pytest.raises(ReadError, match=said):
        read_csv(table, ("image", "label"))
