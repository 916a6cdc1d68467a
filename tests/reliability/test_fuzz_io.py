"""A small share of the fuzzing of files, and files that unpack without end; `python -m tests.reliability` does more."""

import bz2
import gzip
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.reliability import io_samples as samples
from tests.reliability.fuzz_io import PARSERS, inputs
from tests.reliability.harness import Counts, Input, Limits, run

SHARE = 40
"""Inputs of each kind."""
ZEROS = 1 << 27
"""Bytes that nothing in a header asks for."""


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("parser", sorted(set(PARSERS.values())))
def test_damaged_files_are_read_or_refused_in_words(parser):
    kinds = [kind for kind, used in PARSERS.items() if used == parser]
    given = [one for kind in kinds for one in inputs(kind, SHARE)]
    counts = run(parser, given)
    assert counts.total == len(given)
    assert counts.bad == 0, f"{counts}: {counts.examples}"
    assert counts.classes["ok"] > SHARE / 10
    assert counts.classes["clear"] > SHARE / 10


def test_inputs_can_be_made_again():
    for kind in PARSERS:
        one, other = list(inputs(kind, 4, seed=5)), list(inputs(kind, 4, seed=5))
        if kind not in ("dicom series", "dicom enhanced", "dicom image", "dicom compressed"):  # pydicom draws names
            assert [entry.files for entry in one] == [entry.files for entry in other]
        assert [entry.name for entry in one] == [entry.name for entry in other]


@pytest.fixture(scope="module")
def bombs() -> list[Input]:
    """Small files that unpack to what would fill the memory, or that promise it."""
    raw, voxels = samples.nifti(), samples.VOXELS.tobytes(order="F")
    large = bytearray(raw)
    struct.pack_into("<8h", large, 40, 3, 32767, 32767, 8, 1, 1, 1, 1)
    picture = io.BytesIO()
    Image.new("1", (13000, 13000)).save(picture, "PNG")
    tiff = io.BytesIO()
    Image.new("1", (13000, 13000)).save(tiff, "TIFF", compression="tiff_lzw")
    meta = samples.META.format(packed=True, where="LOCAL")
    nrrd = samples.NRRD.format(encoding="gzip")
    promised = nrrd.replace("sizes: 6 7 8", "sizes: 1000 1000 1000")
    files = {
        "more.nii.gz": gzip.compress(raw + bytes(ZEROS)),
        "promised.nii.gz": gzip.compress(bytes(large)),
        "promised.nii": bytes(large),
        "more.mha": meta.encode() + zlib.compress(voxels + bytes(ZEROS)),
        "promised.mha": meta.replace("6 7 8", "1000 1000 900").encode() + zlib.compress(voxels),
        "huge.mha": meta.replace("6 7 8", "99999999 99999999 99999999").encode() + zlib.compress(voxels),
        "more.nrrd": nrrd.encode() + b"\n" + gzip.compress(voxels + bytes(ZEROS)),
        "promised.nrrd": promised.encode() + b"\n" + gzip.compress(voxels),
        "more2.nrrd": nrrd.replace("gzip", "bzip2").encode() + b"\n" + bz2.compress(voxels + bytes(ZEROS)),
        "empty.nii.gz": gzip.compress(b"") * 200_000,
        "wide.png": picture.getvalue(),
        "wide.tif": tiff.getvalue(),
    }
    return [Input(name, {name: data}, name) for name, data in files.items()]


def test_what_unpacks_without_end_is_refused(bombs):
    scans = [one for one in bombs if not one.name.startswith("wide")]
    counts = run("tests.reliability.fuzz_io:read_scan", scans, Limits(memory=100 << 20))
    assert counts.classes == {"clear": len(scans)}, f"{counts}: {counts.examples}"
    pictures = [one for one in bombs if one.name.startswith("wide")]
    for parser in ("read_image", "read_labels"):
        counts = run(f"tests.reliability.fuzz_io:{parser}", pictures, Limits(memory=100 << 20))
        assert counts.classes == {"clear": len(pictures)}, f"{counts}: {counts.examples}"


# What the harness tells apart


@pytest.mark.parametrize(
    ("parser", "kind"),
    [
        ("fine", "ok"),
        ("refuse", "clear"),
        ("refuse_without_a_name", "unnamed"),
        ("refuse_at_length", "long"),
        ("fail", "raw"),
        ("crash", "crash"),
        ("run_for_ever", "hang"),
        ("fill_memory", "memory"),
        ("leave_a_file", "outside"),
    ],
)
def test_the_classes_are_told_apart(parser, kind):
    given = [Input(f"{number}", {"a": b"x"}, "a") for number in range(3)]
    counts = run(f"tests.reliability.bad_parsers:{parser}", given, Limits(seconds=1, memory=200 << 20))
    assert counts.classes == {kind: 3}, counts.examples
    assert counts.bad == (0 if kind in ("ok", "clear") else 3)


def test_counts_keep_a_few_examples():
    counts = Counts()
    for number in range(20):
        counts.add("raw", f"input {number}")
    assert str(counts) == "20 inputs: 20 raw"
    assert len(counts.examples["raw"]) == 5
    assert np.isclose(counts.bad, 20)
