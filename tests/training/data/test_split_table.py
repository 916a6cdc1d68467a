"""The recipe's CSV, and what is in no part of it."""

import csv
import itertools
import shutil
import unicodedata

import pytest

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.conftest import XRAYS, small_images
from tests.training.scan_files import write_dicom, write_scan, write_split
from training.data.prepare import prepare, store_path
from training.data.split_table import read_split
from training.data.store import Store


def test_split_of_a_csv(recipe, tmp_path, source, capsys):
    rows = {"a": "tr", "b": "tr", "c": "va", "d": "te", "e": "spare", "ghost": "tr"}
    path = write_split(tmp_path / "split.csv", rows, encoding="utf-8-sig")
    with_csv = recipe(f"split={path}", 'split_names={tr = "train", va = "validation", te = "test"}')
    summary = prepare(with_csv, progress=False)
    store = Store.open(store_path(with_csv))
    assert {p.name: p.split for p in store.patients} == {
        "a": "train",
        "b": "train",
        "c": "validation",
        "d": "test",
    }
    assert summary.skipped["e.nii.gz"] == "its split 'spare' is none of split_names (tr, va, te)"
    assert summary.skipped["f.nii.gz"] == f"patient 'f' is not in {path}"
    assert summary.absent == ["ghost"]
    assert "1 patients of the split have no scan: ghost" in capsys.readouterr().out


def test_a_dicom_folder_is_named_by_its_path_too(recipe, tmp_path, source):
    write_dicom(source / "p1" / "study")
    path = write_split(tmp_path / "split.csv", {"p1/study": "test", "a": "train"})
    prepare(recipe(f"split={path}"), progress=False)
    assert Store.open(store_path(recipe())).names("test") == ["p1_study"]


def test_bad_splits(recipe, tmp_path):
    path = tmp_path / "split.csv"
    with pytest.raises(ReadError, match="is not there"):
        prepare(recipe(f"split={path}"), progress=False)
    path.write_text("name,fold\na,1\n", encoding="utf-8")
    with pytest.raises(ReadError, match=r"lacks the column .patient. \(it has name, fold\)"):
        prepare(recipe(f"split={path}"), progress=False)
    path.write_text("patient,split\na,train\na,test\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="patient 'a' in 'train' and in 'test'"):
        prepare(recipe(f"split={path}"), progress=False)


def test_a_name_in_another_composition_is_the_same_name(recipe, tmp_path, source):
    write_scan(source / (unicodedata.normalize("NFD", "Müller") + ".nii.gz"))
    path = write_split(tmp_path / "split.csv", {unicodedata.normalize("NFC", "Müller"): "test", "a": "train"})
    prepare(recipe(f"split={path}"), progress=False)
    assert Store.open(store_path(recipe())).names("test") == [unicodedata.normalize("NFC", "Müller")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"patient,split\na\n", r"split\.csv, line 2: 1 values for 2 columns"),
        (b"patient,split\n,train\n", r"split\.csv, line 2: the patient or the split is missing"),
        (b"patient,split\na,tr\xff\n", r"split\.csv cannot be read"),
        (b'patient,split\n"' + b"a" * 200_000 + b'",train\n', r"split\.csv cannot be read"),
        (b"\x00\x00", r"split\.csv lacks the column .patient."),
    ],
)
def test_a_damaged_csv_is_named(recipe, tmp_path, text, said):
    (tmp_path / "split.csv").write_bytes(text)
    with pytest.raises(ReadError, match=said):
        prepare(recipe(f"split={tmp_path / 'split.csv'}"), progress=False)


def write_csv(path, rows, columns=("image", "patient", "split")):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def test_a_split_by_image_or_by_patient(tmp_path):
    names = sorted(path.name for path in XRAYS.glob("*.png"))
    tested = {name[:8] for name in names[:4]}
    rows = [(n, n[:8], "test" if n[:8] in tested else "train") for n in names[1:]]
    by_image = write_csv(tmp_path / "images.csv", rows)
    recipe = small_images(tmp_path / "run", f"split={by_image}")
    summary = prepare(recipe, progress=False)
    assert list(summary.skipped) == [names[0]]
    persons = sorted({str(int(name[:8])) for name in names})
    rows = [(person, "test" if person in persons[:3] else "train") for person in persons]
    by_patient = write_csv(tmp_path / "patients.csv", rows, ("patient", "split"))
    recipe = small_images(tmp_path / "other", f"split={by_patient}")
    prepare(recipe, progress=False)
    store = Store.open(store_path(recipe))
    assert store.persons("test") == persons[:3]


def test_a_patient_in_two_splits_is_refused(tmp_path):
    names = sorted(path.name for path in XRAYS.glob("*.png"))
    several = next(a for a, b in itertools.pairwise(names) if a[:8] == b[:8])
    rows = [(n, n[:8], "test" if n == several else "train") for n in names]
    recipe = small_images(tmp_path / "run", f"split={write_csv(tmp_path / 'split.csv', rows)}")
    with pytest.raises(InvalidInputError, match="patients are split, not their scans or images"):
        prepare(recipe, progress=False)


def test_splits_that_contradict_themselves_are_refused(tmp_path):
    names = sorted(path.name for path in XRAYS.glob("*.png"))
    several = next(a for a, b in itertools.pairwise(names) if a[:8] == b[:8])
    # Other patients in the CSV than in the path, so that one patient of the path is in two parts.
    rows = [(n, n, "test" if n == several else "train") for n in names]
    with pytest.raises(InvalidInputError, match="by its path"):
        prepare(small_images(tmp_path / "a", f"split={write_csv(tmp_path / 'a.csv', rows)}"), progress=False)
    rows = [(n, n[:8], "train") for n in names] + [(names[0].removesuffix(".png"), names[0][:8], "test")]
    with pytest.raises(InvalidInputError, match="several splits"):
        prepare(small_images(tmp_path / "b", f"split={write_csv(tmp_path / 'b.csv', rows)}"), progress=False)


def test_a_pattern_says_whose_the_images_are_where_the_csv_names_images_alone(tmp_path):
    """Its rows are called patients and are images: those of one patient are in one part all the same."""
    names = [f"{patient}_{number}" for patient in range(4) for number in range(3)]
    for name in names:
        shutil.copy(next(XRAYS.glob("*.png")), tmp_path / f"{name}.png")
    given = [f"source={tmp_path}", "patient=([0-9]+)_", "validation_share=0.3"]
    by_name = write_csv(tmp_path / "split.csv", [(name, "train") for name in names], ("patient", "split"))
    recipe = small_images(tmp_path / "run", *given, f"split={by_name}")
    prepare(recipe, progress=False)
    store = Store.open(store_path(recipe))
    assert {item.name: item.patient for item in store.items} == {name: name[0] for name in names}
    assert len(store.persons("train")) == 3
    assert set(store.persons("train")).isdisjoint(store.persons("validation"))
    by_image = write_csv(tmp_path / "images.csv", [(name, name, "train") for name in names])
    with pytest.raises(InvalidInputError, match="of patient '0' by its path as of '0_0' and of '0_1': give them one"):
        prepare(small_images(tmp_path / "other", *given, f"split={by_image}"), progress=False)


def test_a_file_counts_before_a_shipped_one_of_its_name(recipe, tmp_path, monkeypatch):
    name = "semantic-genesis-2d-tiny.csv"
    assert len(read_split(recipe(f"split={name}"))) > 1
    monkeypatch.chdir(tmp_path)
    write_split(tmp_path / name, {"a": "test"})
    assert list(read_split(recipe(f"split={name}"))) == ["a"]
