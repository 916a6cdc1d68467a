"""Stored values: compressed or not, signed or not, and files that ask for more than they hold."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.formats.dicom.pixels import Pixels
from sg_hub.io.image import load_image
from sg_hub.io.scan import load_scan
from tests.sg_hub.io.formats.dicom.dicom_files import VOLUME, compress, enhanced, slice_of, write, write_series
from tests.sg_hub.io.xray_files import write_xray

HU = (VOLUME - 1024).transpose(2, 1, 0)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [0, 1])
def test_values_are_those_of_the_file_however_they_are_shown(tmp_path, kind, signed):
    volume = VOLUME - 1000 * signed
    scan = load_scan(write_series(tmp_path, volume, PhotometricInterpretation=kind, PixelRepresentation=signed))
    assert np.array_equal(scan.array[0], (volume - 1024).transpose(2, 1, 0))


def test_orders_of_bytes(tmp_path):
    for number, pixels in enumerate(VOLUME):
        syntax = (ImplicitVRLittleEndian, ExplicitVRBigEndian)[number % 2]
        data = slice_of(pixels, 2.0 * number)
        if syntax is ExplicitVRBigEndian:
            data.PixelData = pixels.astype(">u2").tobytes()
        write(tmp_path / f"{number}.dcm", data, syntax)
    assert np.array_equal(load_scan(tmp_path).array[0], HU)


def test_bits_beyond_those_that_are_stored_are_left_out(tmp_path):
    """Old files keep drawings there."""
    scan = load_scan(write_series(tmp_path, VOLUME + 0xF000, BitsStored=12, HighBit=11))
    assert np.array_equal(scan.array[0], HU)


# Compressed


@pytest.mark.parametrize("name", ["RLE", "JPEG", "JPEG2000"])
def test_compressed_slices(tmp_path, name):
    before = load_scan(write_series(tmp_path)).array
    compress(tmp_path, name)
    syntax = pydicom.dcmread(tmp_path / "0.dcm").file_meta.TransferSyntaxUID
    assert syntax.is_encapsulated
    assert np.array_equal(load_scan(tmp_path).array, before)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_compressed_frames_are_not_inverted(tmp_path, kind):
    data = enhanced(VOLUME, [2.0 * k for k in range(6)], PhotometricInterpretation=kind)
    path = write(tmp_path / "a.dcm", data)
    data = pydicom.dcmread(path)
    data.compress(RLELossless)
    data.save_as(path)
    assert np.array_equal(load_scan(path).array[0], HU)


def test_a_damaged_slice_is_named_and_the_next_one_is_decoded(tmp_path):
    write_series(tmp_path)
    compress(tmp_path, "JPEG2000")
    path = tmp_path / "3.dcm"
    data = pydicom.dcmread(path)
    frame = bytearray(pydicom.encaps.get_frame(data.PixelData, 0, number_of_frames=1))
    for place in range(20, 60):
        frame[place] ^= 0x5A
    data.PixelData = encapsulate([bytes(frame)])
    data.save_as(path)
    with pytest.raises(ReadError, match=r"3\.dcm is truncated or damaged: its compressed pixels cannot be decoded"):
        load_scan(tmp_path)
    with Pixels() as pixels:
        with pytest.raises(ReadError):
            pixels.stored(data, path)
        other = tmp_path / "2.dcm"
        assert np.array_equal(pixels.stored(pydicom.dcmread(other), other), VOLUME[2])


def test_a_syntax_without_a_decoder_is_named(tmp_path):
    path = write_series(tmp_path) / "0.dcm"
    data = pydicom.dcmread(path)
    data.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(100)])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    data.save_as(path)
    with pytest.raises(InvalidInputError, match=r"0\.dcm is compressed as High-Throughput JPEG 2000.*no decoder here"):
        load_scan(tmp_path)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_colours_that_are_compressed(tmp_path, kind):
    from PIL import Image as PillowImage

    rows, columns = np.mgrid[:32, :48]
    colours = np.stack([rows * 8, columns * 5, 255 - rows * 8], -1).astype(np.uint8)
    file = io.BytesIO()
    PillowImage.fromarray(colours).save(file, format=kind, **({"quality": 95} if kind == "JPEG" else {}))
    raw = file.getvalue()
    path = write_xray(
        tmp_path / "x.dcm", colours, PhotometricInterpretation="YBR_FULL_422" if kind == "JPEG" else "YBR_RCT"
    )
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4." + ("50" if kind == "JPEG" else "90")
    data.PixelData = encapsulate([raw[raw.index(b"\xff\x4f\xff\x51") if kind == "JPEG2000" else 0 :]])
    data["PixelData"].is_undefined_length = True
    data.save_as(path)
    np.testing.assert_allclose(load_image(path).array, np.moveaxis(colours, -1, 0) / 255, atol=0.05)


def test_colours_of_16_bits(tmp_path):
    colours = np.random.default_rng(0).integers(0, 65535, (8, 9, 3))
    path = write_xray(tmp_path / "x.dcm", colours, BitsAllocated=16, BitsStored=16)
    np.testing.assert_allclose(load_image(path).array, np.moveaxis(colours, -1, 0) / 65535, atol=1e-6)


def test_no_process_is_left(tmp_path):
    write_series(tmp_path)
    compress(tmp_path, "RLE")
    load_scan(tmp_path)
    children = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
    left = [Path(f"/proc/{number}/cmdline").read_bytes() for number in Path(children).read_text("ascii").split()]
    assert not [line for line in left if b"decoder.py" in line]


# More than there is


@pytest.mark.parametrize("length", [10, 2**31, 2**32 - 2])
@pytest.mark.parametrize("tag", [(0x7FE0, 0x10), (0x20, 0x32), (0x28, 0x10)])
def test_lengths_that_are_none(tmp_path, length, tag):
    path = write_series(tmp_path) / "5.dcm"
    raw = bytearray(path.read_bytes())
    start = raw.rindex(struct.pack("<HH", *tag))
    long = tag == (0x7FE0, 0x10)
    place, kind = (start + 8, "<I") if long else (start + 6, "<H")
    raw[place : place + struct.calcsize(kind)] = struct.pack(kind, length % (1 << 8 * struct.calcsize(kind)))
    path.write_bytes(raw)
    with pytest.raises((ReadError, InvalidInputError), match=r"5\.dcm"):
        load_scan(tmp_path)


def test_a_size_that_is_too_large(tmp_path, monkeypatch):
    write_series(tmp_path)
    monkeypatch.setenv("SG_HUB_MAX_BYTES", "2000")
    with pytest.raises(InvalidInputError, match="SG_HUB_MAX_BYTES=BYTES"):
        load_scan(tmp_path)
    monkeypatch.setenv("SG_HUB_MAX_BYTES", "1e9")
    with pytest.raises(InvalidInputError, match="expected a number of bytes"):
        load_scan(tmp_path)


def test_bits_at_the_other_end_of_a_word(tmp_path):
    with pytest.raises(InvalidInputError, match=r"its 12 bits a value end at bit 15 \(HighBit\)"):
        load_scan(write_series(tmp_path, VOLUME << 4, BitsStored=12, HighBit=15))


def test_frames_beyond_those_that_the_file_says(tmp_path):
    data = enhanced(VOLUME, [2.0 * k for k in range(6)])
    data.NumberOfFrames, data.PerFrameFunctionalGroupsSequence = 5, data.PerFrameFunctionalGroupsSequence[:5]
    path = write(tmp_path / "a.dcm", data)
    with pytest.raises(ReadError, match=r"says that it holds 5 frame\(s\) and has 6"):
        load_scan(path)
    data = pydicom.dcmread(path)
    data.NumberOfFrames, groups = 6, data.PerFrameFunctionalGroupsSequence
    data.compress(RLELossless)
    data.NumberOfFrames, data.PerFrameFunctionalGroupsSequence = 5, groups
    data.save_as(path)
    with pytest.raises(ReadError, match="says that it holds 5 frames and has 6"):
        load_scan(path)


@pytest.mark.parametrize("wide", [True, False])
def test_a_table_of_8_bits_whose_entries_stand_in_16(tmp_path, wide):
    entries = np.arange(256) // 2
    table = pydicom.Dataset()
    table.LUTDescriptor = [256, 0, 8]
    table.add_new("LUTData", "OW", entries.astype("<u2" if wide else "u1").tobytes())
    pixels = np.tile(np.arange(256, dtype=np.uint16), (8, 1))
    path = write_xray(tmp_path / "x.dcm", pixels, VOILUTSequence=[table])
    assert np.allclose(load_image(path).array[0, 0], entries / 255)
