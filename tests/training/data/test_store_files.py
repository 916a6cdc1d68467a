"""The table, the settings and their checksums: damage is seen, and a change by hand is compared with the voxels."""

from dataclasses import replace

import numpy as np
import pytest
import zarr

from sg_hub.errors import ReadError
from tests.training.data.conftest import flipped
from training.data.store import Store
from training.data.store_files import read_settings, write_table


def test_the_table(folder):
    store = Store.open(str(folder))
    assert store.names() == ["a", "b", "c"]
    assert [store.names(split) for split in ("train", "validation", "test")] == [["a"], ["b"], ["c"]]
    assert store.shape("c") == (24, 24, 24)
    assert store.patients[2].channels == 2
    assert store.patients[0].spacing == (0.7031251, 2.0, 3.3333333), "as exact as it was given"
    assert (store.window, store.spacing) == ((-1000.0, 1000.0), None)
    assert (folder / "patients.csv").read_text(encoding="utf-8").splitlines()[
        1
    ] == "a,train,40x30x20,1,0.7031251x2x3.3333333,a.nii,0,"


def test_fingerprint_follows_content_and_split(folder):
    store = Store.open(folder)
    before = store.fingerprint
    assert Store.open(folder, 10).fingerprint == before
    for change in ({"split": "test"}, {"sha256": "9"}, {"source": "other.nii"}):
        write_table(folder, [replace(store.items[0], **change), *store.items[1:]])
        assert Store.open(folder).fingerprint != before
    write_table(folder, [replace(store.items[0], images=("0123456789ab",)), *store.items[1:]])
    again = Store.open(folder)
    assert again.fingerprint == before, "what an image is known by does not change a result"
    assert again.items[0].images == ("0123456789ab",)


def test_fingerprint_follows_the_window(folder):
    """The voxels of a scan that lies within both windows are the same, and what the network sees of them is not."""
    store = Store.open(folder)
    usual, wide = ({**store.settings, "window": ends} for ends in ([-1000.0, 1000.0], [-1000.0, 2000.0]))
    assert Store(store.url, store.items, usual).fingerprint == store.fingerprint
    assert Store(store.url, store.items, wide).fingerprint != store.fingerprint


def test_another_zarr_group_is_no_store(tmp_path):
    zarr.open_group(str(tmp_path / "group"), mode="w").attrs["title"] = "something else"
    assert read_settings(str(tmp_path / "group")) is None
    with pytest.raises(ReadError, match="is not a store"):
        Store.open(tmp_path / "group")


def test_unfinished(folder):
    (folder / "patients.csv").unlink()
    with pytest.raises(ReadError, match="not finished"):
        Store.open(folder)


HEADER = "patient,split,shape,channels,spacing,source,sha256\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no patients"),
        ("patient,split\na,train\n", "damaged"),
        (f"{HEADER}a,train,40x30,1,1x1x1,a,0\n", "damaged"),
        (f"{HEADER}a,train,40x", "damaged"),
        (f"{HEADER}a,tr)in,40x30x20,1,1x1x1,a,0\n", r"damaged \(split 'tr\)in'"),
        (f"{HEADER}a,train,40x30x0,1,1x1x1,a,0\n", "damaged"),
        (f"{HEADER}a,train,40x30x20,1,1xnanx1,a,0\n", "damaged"),
        (f"{HEADER}a,train,40x30x20,1,1x1x1,a\n", "damaged"),
        (f"{HEADER}a,train,40x30x20,1,1x1x1,a,0\n" * 2, "damaged"),
        (HEADER + "a,train,40x30x20,1,1x1x1,a,0\n" * 2, "two rows of one name"),
    ],
)
def test_a_damaged_table(folder, text, said):
    (folder / "patients.csv").write_text(text, encoding="utf-8")
    for _ in range(2):
        with pytest.raises(ReadError, match=said):
            Store.open(folder)
        (folder / "checksums.json").unlink(missing_ok=True)  # as in stores that were written before there were any


def test_a_table_that_was_changed_by_hand(prepared, capsys):
    path = prepared / "patients.csv"
    table = path.read_text(encoding="utf-8")
    path.write_text(table.replace(",train,", ",test,", 1), encoding="utf-8")
    before = Store.open(prepared)
    assert len(before.names("test")) == 1
    assert "patients.csv is not as `sg-hub prepare` wrote it" in capsys.readouterr().err
    for change in (("20x16x12", "20x16x21"), (",1,2x", ",1,3x"), (before.items[2].sha256, before.items[1].sha256)):
        path.write_text(table.replace(*change, 1), encoding="utf-8")
        with pytest.raises(ReadError, match=r"patients\.csv is damaged \((patient )?[abc]"):
            Store.open(prepared)
    path.write_text(table, encoding="utf-8")


@pytest.mark.parametrize("attributes", [{"window": None}, {"window": [1]}, {"window": ["a", "b"]}, {"spacing": 3}])
def test_damaged_settings(folder, attributes):
    zarr.open_group(str(folder), mode="a").attrs.update(attributes)
    for _ in range(2):
        with pytest.raises(ReadError, match=r"zarr\.json is damaged"):
            Store.open(folder)
        (folder / "checksums.json").unlink(missing_ok=True)


def test_settings_that_are_no_json(folder):
    (folder / "zarr.json").write_text('{"attributes": {"sg_hub_sto', encoding="utf-8")
    with pytest.raises(ReadError, match=r"zarr\.json is damaged"):
        Store.open(folder)


def test_no_flipped_bit_of_the_table_or_the_settings_gives_others(prepared):
    def contents() -> tuple:
        store = Store.open(prepared)
        items = [replace(item, source="") for item in store.items]  # where it came from is no value
        return items, store.settings, store.window, store.spacing

    expected, draw, errors = contents(), np.random.default_rng(0), 0
    for name in ("patients.csv", "zarr.json", "checksums.json"):
        path = prepared / name
        whole = path.read_bytes()
        for position in draw.integers(0, 8 * len(whole), 200):
            path.write_bytes(flipped(path, position))
            try:
                assert contents() == expected, (name, position)
            except ReadError:
                errors += 1
            path.write_bytes(whole)
    assert errors > 450


def test_stores_without_checksums_are_read(folder, scans):
    (folder / "checksums.json").unlink()
    store = Store.open(folder)
    np.testing.assert_array_equal(store.whole("a"), scans["a"])
    assert store.items[0].images == ()


def test_a_finished_store_is_not_written_again(folder):
    before = [(path, path.stat().st_ino) for path in (folder / "patients.csv", folder / "checksums.json")]
    write_table(folder, Store.open(folder).items)
    assert [(path, path.stat().st_ino) for path, _ in before] == before


def test_a_newer_version(folder):
    zarr.open_group(str(folder), mode="a").attrs["sg_hub_store"] = 99
    with pytest.raises(ReadError, match=r"version 99.*upgrade"):
        Store.open(folder)
