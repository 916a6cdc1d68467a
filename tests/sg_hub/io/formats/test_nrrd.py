"""NRRD: spaces, units, encodings, files that are elsewhere, axes, and headers that cannot be followed."""

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.scan import load_scan

VOXELS = np.random.default_rng(0).integers(-900, 900, (5, 6, 7)).astype("<i2")
RAW = VOXELS.tobytes(order="F")
FIELDS = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "5 6 7",
    "space directions": "(0.8,0,0) (0,0.9,0) (0,0,2.5)",
    "space origin": "(1,2,3)",
    "endian": "little",
    "encoding": "raw",
}
PLAIN = {"space": None, "space directions": None, "space origin": None}
"""Without a space."""


def write(path: Path, data=RAW, fields=None, rest="") -> Path:
    """A header with fields changed, or left out where they are None; the voxels follow where no data file is named."""
    merged = {key: value for key, value in (FIELDS | (fields or {})).items() if value is not None}
    text = "NRRD0005\n# by hand\n" + "".join(f"{key}: {value}\n" for key, value in merged.items()) + rest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() + (b"" if "data file" in merged else b"\n" + data))
    return path


def read(tmp_path, fields=None, **options):
    return load_scan(write(tmp_path / "a.nrrd", fields=fields), **options)


def test_as_itk_reads_it(tmp_path):
    scan, image = read(tmp_path), sitk.ReadImage(str(tmp_path / "a.nrrd"))
    assert np.array_equal(scan.array[0], VOXELS)
    assert np.array_equal(sitk.GetArrayFromImage(image).T, VOXELS)
    assert scan.spacing == image.GetSpacing() == (0.8, 0.9, 2.5)
    assert scan.origin == image.GetOrigin() == (1, 2, 3)


@pytest.mark.parametrize(
    "space",
    [
        "right-anterior-superior",
        "left-anterior-superior",
        "RAS",
        "LPS",
        "LAS",
        "inferior-left-posterior",
        "scanner-xyz",
    ],
)
def test_spaces(tmp_path, space):
    scan = read(tmp_path, {"space": space})
    letters = "LPS" if space == "scanner-xyz" else "".join(part[0].upper() for part in space.split("-"))
    letters = space if space.isupper() else letters
    assert scan.file_grid.orientation == letters
    wanted = dict(zip(letters, (1, 2, 3), strict=True))
    signs = {"L": 1, "R": -1, "P": 1, "A": -1, "S": 1, "I": -1}
    origin = [next(signs[a] * wanted[a] for a in pair if a in wanted) for pair in ("LR", "PA", "SI")]
    assert scan.file_grid.origin == tuple(origin)
    if space in ("right-anterior-superior", "left-anterior-superior", "scanner-xyz"):  # others ITK does not know
        assert sitk.ReadImage(str(tmp_path / "a.nrrd")).GetOrigin() == scan.file_grid.origin


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("mm", 1), ("um", 0.001), ("µm", 0.001), ("microns", 0.001), ("m", 1000), ("cm", 10), ("nm", 1e-6), ("", 1)],
)
def test_the_unit_of_space_is_honoured(tmp_path, unit, scale):
    scan = read(tmp_path, {"space units": " ".join([f'"{unit}"'] * 3)})
    np.testing.assert_allclose(scan.spacing, np.array([0.8, 0.9, 2.5]) * scale)
    np.testing.assert_allclose(scan.origin, np.array([1, 2, 3]) * scale)
    scan = read(tmp_path, PLAIN | {"spacings": "0.8 0.9 2.5", "units": " ".join([f'"{unit}"'] * 3)})
    np.testing.assert_allclose(scan.spacing, np.array([0.8, 0.9, 2.5]) * scale)


def test_units_that_differ_by_axis(tmp_path):
    scan = read(tmp_path, {"space units": '"mm" "mm" "um"'})
    np.testing.assert_allclose(scan.spacing, [0.8, 0.9, 0.0025])


@pytest.mark.parametrize("units", ['"inch" "inch" "inch"', '"mm" "mm"', '"mm" "mm" "s"'])
def test_units_that_are_none(tmp_path, units):
    with pytest.raises(InvalidInputError, match="expected a unit of length for each of 3 axes"):
        read(tmp_path, {"space units": units})
    with pytest.raises(InvalidInputError, match="expected a unit of length for each of 3 axes"):
        read(tmp_path, PLAIN | {"spacings": "1 1 1", "units": units})


def test_without_a_space_it_is_taken_for_lps(tmp_path, caplog):
    read(tmp_path)
    assert not caplog.text
    assert read(tmp_path, PLAIN | {"spacings": "1 2 3"}).file_grid.orientation == "LPS"
    assert "a.nrrd says nothing of its orientation (it has neither space nor space directions)" in caplog.text
    assert read(tmp_path, {"space": None}).file_grid.orientation == "LPS"
    assert "a.nrrd has space directions and no space" in caplog.text


def test_a_missing_spacing_is_not_made_up(tmp_path):
    with pytest.raises(InvalidInputError, match=r"does not say its spacing \(space directions\).*spacing=\(x, y, z\)"):
        read(tmp_path, PLAIN)
    assert read(tmp_path, PLAIN, spacing=(1, 2, 3)).spacing == (1, 2, 3)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("gz", gzip.compress),
        ("bzip2", bz2.compress),
        ("hex", lambda raw: raw.hex().encode()),
        ("ascii", lambda raw: " ".join(map(str, np.frombuffer(raw, "<i2"))).encode()),
    ],
)
def test_encodings(tmp_path, encoding, pack):
    path = write(tmp_path / "a.nrrd", pack(RAW), {"encoding": encoding})
    assert np.array_equal(load_scan(path).array[0], VOXELS)
    data = pack(RAW)
    path = write(tmp_path / "a.nrrd", data[: len(data) - 7], {"encoding": encoding})
    with pytest.raises(ReadError, match="truncated or damaged"):
        load_scan(path)


def test_more_than_the_header_says_is_not_unpacked(tmp_path):
    path = write(tmp_path / "a.nrrd", gzip.compress(RAW + bytes(4 << 20)), {"encoding": "gzip"})
    with pytest.raises(ReadError, match="unpacks to more than its header says"):
        load_scan(path)


def test_files_of_voxels(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"xx" + RAW)
    path = write(tmp_path / "a.nhdr", fields={"byte skip": "2", "data file": "a.raw"})
    assert np.array_equal(load_scan(path).array[0], VOXELS)
    for encoding, pack in (("gzip", gzip.compress), ("bzip2", bz2.compress)):
        (tmp_path / "a.packed").write_bytes(pack(b"xx" + RAW))
        path = write(tmp_path / "a.nhdr", fields={"byte skip": "2", "data file": "a.packed", "encoding": encoding})
        assert np.array_equal(load_scan(path).array[0], VOXELS)
    for k in range(7):
        (tmp_path / f"s{k}.raw").write_bytes(VOXELS[..., k].tobytes(order="F"))
    names = "".join(f"s{k}.raw\n" for k in range(7))
    assert np.array_equal(
        load_scan(write(tmp_path / "b.nhdr", fields={"data file": "LIST"}, rest=names)).array[0], VOXELS
    )
    path = write(tmp_path / "b.nhdr", fields={"data file": "s%d.raw 0 6 1"})
    assert np.array_equal(load_scan(path).array[0], VOXELS)
    path = write(tmp_path / "b.nhdr", fields={"data file": "LIST"}, rest=names[:-7])
    with pytest.raises((InvalidInputError, ReadError), match=r"do not go evenly|truncated"):
        load_scan(path)


@pytest.mark.parametrize("where", ["../secret.raw", "/etc/hostname"])
def test_files_elsewhere_are_read_only_if_that_is_said(tmp_path, where):
    (tmp_path / "secret.raw").write_bytes(RAW)
    path = write(tmp_path / "scans" / "a.nhdr", fields={"data file": where})
    with pytest.raises(InvalidInputError, match="outside its own folder"):
        load_scan(path)
    if where.startswith(".."):
        assert np.array_equal(load_scan(path, outside=True).array[0], VOXELS)


# Axes


@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize("kind", ["<i2", "<u2"])
def test_the_axis_of_channels_is_wherever_the_file_has_it(tmp_path, place, kind):
    values = np.abs(np.stack([VOXELS, VOXELS + 5, VOXELS * 2, VOXELS - 9], place)).astype(kind)
    kinds, sizes = ["domain"] * 3, ["5", "6", "7"]
    vectors = ["(0.8,0,0)", "(0,0.9,0)", "(0,0,2.5)"]
    for entries, new in ((kinds, "vector"), (sizes, "4"), (vectors, "none")):
        entries.insert(place, new)
    fields = {
        "dimension": "4",
        "sizes": " ".join(sizes),
        "kinds": " ".join(kinds),
        "space directions": " ".join(vectors),
    }
    fields["type"] = "unsigned short" if kind == "<u2" else "short"
    scan = load_scan(write(tmp_path / "a.nrrd", values.tobytes(order="F"), fields))
    assert np.array_equal(scan.array, np.moveaxis(values, place, 0))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kinds": "RGB-color domain domain domain"}, "colour image"),
        ({"kinds": "complex domain domain domain", "sizes": "2 5 6 7"}, "complex"),
        ({"kinds": "time domain domain domain"}, "4D: 3 volumes of 5 x 6 x 7"),
        ({"type": "uchar", "kinds": "vector domain domain domain"}, "colour image"),
    ],
)
def test_what_is_no_scan_of_grey_values(tmp_path, fields, words):
    four = {"dimension": "4", "sizes": "3 5 6 7", "space directions": "none (1,0,0) (0,1,0) (0,0,1)"}
    with pytest.raises(InvalidInputError, match=words):
        load_scan(write(tmp_path / "a.nrrd", RAW * 3, four | fields))


def test_four_axes_without_kinds(tmp_path):
    four = PLAIN | {"dimension": "4", "sizes": "2 5 6 7"}
    with pytest.raises(InvalidInputError, match="4D: 7 volumes"):
        load_scan(write(tmp_path / "a.nrrd", RAW * 2, four | {"spacings": "1 1 1 1"}))
    both = np.stack([VOXELS, -VOXELS]).tobytes(order="F")
    scan = load_scan(write(tmp_path / "a.nrrd", both, four | {"spacings": "nan 1 2 3"}))
    assert np.array_equal(scan.array, [VOXELS, -VOXELS])
    assert scan.spacing == (1, 2, 3)


# Headers


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sizes": "5 6 1e300"}, "sizes is '1e300'; expected a whole number"),
        ({"sizes": "5 6"}, "sizes is '5 6' and dimension 3"),
        ({"sizes": "5 6 0"}, "sizes is '5 6 0'"),
        ({"sizes": "5 6 8"}, "bytes for 480 bytes"),
        ({"sizes": "5 6 99999999999"}, "at most 4 GiB"),
        ({"dimension": "x"}, "dimension is 'x'"),
        ({"type": "block"}, "its type is 'block'"),
        ({"endian": None}, "endian is ''; expected little or big"),
        ({"encoding": "lzw"}, "its encoding is 'lzw'"),
        ({"space directions": "(a,b,c) (d,e,f) (g,h,i)"}, "space directions is 'a b c'; expected 3 numbers"),
        ({"space directions": "(1,0,0) (0,1,0)"}, "expected 3 of the form"),
        ({"space directions": "(1,0,0) (0,1,0) (0,0,1) x"}, "expected 3 of the form"),
        ({"space directions": "(1,0,0) (0,1,0) (0,0,0)"}, r"spacing \(1, 1, 0\)"),
        ({"space directions": "(1,0,0) (0,1,0) (0,0,nan)"}, "spacing"),
        ({"space directions": "(1,0,0) (0,1,0) (0,0,3e38)"}, r"spacing \(1, 1, 3e\+38\)"),
        ({"space directions": "(1,0,0) (0,1,0) (0,1,1)"}, "singular or sheared"),
        ({"space origin": "(0,0)"}, "space origin is '0 0'; expected 3 numbers"),
        ({"space origin": "none"}, "space origin is none"),
        ({"space origin": "(0,inf,0)"}, "is not three numbers"),
        ({"space": "left-left-superior"}, "its space is 'left-left-superior'"),
        ({"space": "left-posterior-superior-time"}, "its space is"),
        ({"line skip": "2"}, "skips lines"),
        ({"byte skip": "-5"}, "skips"),
        ({"kinds": "domain domain"}, "3 axes and 2 kinds"),
    ],
    ids=str,
)
def test_headers_that_cannot_be_followed(tmp_path, fields, words):
    with pytest.raises((InvalidInputError, ReadError), match=words) as caught:
        read(tmp_path, fields)
    assert "a.nrrd" in str(caught.value)


def test_a_header_without_end_and_a_field_given_twice(tmp_path):
    path = write(tmp_path / "a.nrrd")
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"encoding") + 5])
    with pytest.raises(ReadError, match="its header has no end"):
        load_scan(path)
    path.write_bytes(whole.replace(b"endian", b"sizes: 6 5 7\nendian"))
    with pytest.raises(ReadError, match="its header gives sizes twice"):
        load_scan(path)


@pytest.mark.parametrize("field", [{"spacings": "1 1 2"}, {"units": '"cm" "cm" "cm"'}])
def test_distances_that_are_given_twice(tmp_path, field):
    with pytest.raises(InvalidInputError, match=rf"has space directions and {next(iter(field))} \("):
        read(tmp_path, field)
    assert read(tmp_path, {"spacings": "nan nan nan", "units": '"mm" "mm" "mm"'}).spacing == (0.8, 0.9, 2.5)


def test_voxels_beyond_those_of_the_header(tmp_path):
    with pytest.raises(ReadError, match="bytes more than its header says"):
        load_scan(write(tmp_path / "a.nrrd", data=3 * RAW))
    with pytest.raises(ReadError, match="unpacks to more than its header says"):
        load_scan(write(tmp_path / "a.nrrd", data=gzip.compress(3 * RAW), fields={"encoding": "gzip"}))


def test_voxels_that_a_file_ends_in(tmp_path):
    path = write(tmp_path / "a.nrrd", b"a comment of some program" + RAW, {"byte skip": "-1"})
    assert np.array_equal(load_scan(path).array[0], VOXELS)


@pytest.mark.parametrize("data", [RAW + b"\1\2", RAW + RAW[:100]])
def test_a_few_voxels_more_than_the_header_says(tmp_path, data):
    for encoding, packed in (("raw", data), ("gzip", gzip.compress(data))):
        with pytest.raises(ReadError, match=r"more than its header says"):
            load_scan(write(tmp_path / "a.nrrd", packed, {"encoding": encoding}))
    padded = write(tmp_path / "a.nrrd", RAW + bytes(-len(RAW) % 512))
    assert np.array_equal(load_scan(padded).array[0], VOXELS)


@pytest.mark.parametrize(("encoding", "one"), [("text", "5"), ("hex", "0500")])
def test_more_voxels_written_out_than_the_header_says(tmp_path, encoding, one):
    texts = " ".join(map(str, VOXELS.ravel("F"))) if encoding == "text" else RAW.hex()
    path = write(tmp_path / "a.nrrd", texts.encode(), {"encoding": encoding})
    assert np.array_equal(load_scan(path).array[0], VOXELS)
    write(path, f"{texts} {one}".encode(), {"encoding": encoding})
    with pytest.raises(ReadError, match="211 of 210 voxels"):
        load_scan(path)


@pytest.mark.parametrize("field", ["centers", "centerings"])
@pytest.mark.parametrize("centers", [None, "cell cell cell", "node node node"])
def test_where_axes_begin_as_itk_takes_it(tmp_path, centers, field):
    own = {"spacings": "0.8 0.9 2.5", "axis mins": "5 6 7", field: centers}
    scan, image = read(tmp_path, PLAIN | own), sitk.ReadImage(str(tmp_path / "a.nrrd"))
    assert scan.origin == pytest.approx(image.GetOrigin())
    assert scan.origin[0] == pytest.approx(5 if centers == "node node node" else 5.4)
