"""Damaged files of scans, images and label maps, for every reader of `sg_hub.io`."""

from __future__ import annotations

import bz2
import copy
import gzip
import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom

import sg_hub
from sg_hub.errors import SgHubError
from sg_hub.io.labels import load_labels, read_label_image
from tests.reliability.fuzz import io_samples as samples
from tests.reliability.fuzz.mutations import NUMBERS, damage, edit_text, packed, set_fields
from tests.reliability.harness import Files, Kind, Limits

_WORDS = ("", "MONOCHROME1", "RGB", "PALETTE COLOR", samples.CT, samples.ENHANCED_CT, "1.2", "\\\\", "ü")


# -- parsers, which run in the worker -----------------------------------------------------------------------------


def read_scan(path: Path) -> None:
    """What comes out has to be what `Scan` promises."""
    scan = sg_hub.load_scan(path)
    assert scan.array.ndim == 4
    assert np.isfinite(scan.array).all()
    assert all(0 < value < np.inf for value in scan.spacing)
    assert np.isfinite(scan.origin).all()
    scan.to_image(scan.array)


def read_image(path: Path) -> None:
    """What comes out has to be what `Image` promises."""
    image = sg_hub.load_image(path)
    assert image.array.ndim == 3
    assert image.array.min() >= 0
    assert image.array.max() <= 1


def read_labels(path: Path) -> None:
    """What comes out has to be whole numbers."""
    labels = read_label_image(path)
    assert labels.ndim == 2
    assert labels.dtype.kind in "iu"


def read_label_map(path: Path) -> None:
    """What comes out has to be whole numbers, in one layer."""
    labels = load_labels(path).array
    assert labels.shape[0] == 1
    assert np.array_equal(labels, np.rint(labels))


def read_bomb(path: Path) -> None:
    """Whatever it is, every reader has to refuse it."""
    readers = (read_image, read_labels) if path.name.startswith("wide") else (read_scan, read_label_map)
    refusals: list[SgHubError] = []
    for read in readers:
        try:
            read(path)
        except SgHubError as error:
            refusals.append(error)
    assert len(refusals) == len(readers)
    raise refusals[0]


# -- inputs -------------------------------------------------------------------------------------------------------


def _nifti(rng: random.Random) -> Files:
    data = samples.nifti(kind=rng.choice(("<i2", "<f4", "|u1")))
    how = rng.randrange(4)
    if how <= 1:
        data = set_fields(data, samples.NIFTI_FIELDS, rng)
    elif how == 2:
        data = damage(data, rng, rng.choice((352, None)))
    if rng.random() < 0.5:
        name, data = "scan.nii.gz", gzip.compress(data)
        if how == 3 or rng.random() < 0.2:
            data = damage(data, rng)
    else:
        name = "scan.nii"
        data = damage(data, rng) if how == 3 else data
    return {name: data}, name


def _nifti_two(rng: random.Random) -> Files:
    """NIfTI-2, whose fields are wider."""
    from nibabel.nifti2 import Nifti2Image

    data = Nifti2Image(samples.VOXELS, np.diag([0.8, 0.9, 2.5, 1])).to_bytes()
    fields = [(4, "<q"), (12, "<h"), (14, "<h"), *((16 + 8 * k, "<q") for k in range(8))]
    fields += [*((104 + 8 * k, "<d") for k in range(8)), (168, "<q"), (176, "<d"), (184, "<d")]
    fields += [(344, "<i"), (348, "<i"), *((352 + 8 * k, "<d") for k in range(18)), (500, "<i")]
    data = set_fields(data, fields, rng) if rng.random() < 0.7 else damage(data, rng, rng.choice((544, None)))
    return {"scan.nii": data}, "scan.nii"


def _nifti_pair(rng: random.Random) -> Files:
    head, voxels = samples.nifti(b"ni1\0"), samples.VOXELS.tobytes(order="F")
    how = rng.randrange(3)
    if how == 0:
        head = set_fields(head, samples.NIFTI_FIELDS, rng)
    elif how == 1:
        head = damage(head, rng)
    else:
        voxels = damage(voxels, rng)
    files = {"scan.hdr": head, "scan.img": voxels}
    if rng.random() < 0.1:
        del files["scan.img"]
    return files, rng.choice(tuple(files))


def _meta_image(rng: random.Random) -> Files:
    voxels = samples.VOXELS.tobytes(order="F")
    packing, where = rng.random() < 0.5, rng.choice(("LOCAL", "scan.raw", "list"))
    files: dict[str, bytes] = {}
    data = zlib.compress(voxels) if packing else voxels
    lines = "scan.raw"
    if where == "list":
        data = zlib.compress(voxels[: len(voxels) // 8]) if packing else voxels[: len(voxels) // 8]
        files |= {f"{number}.raw": data for number in range(8)}
        lines = "LIST\n" + "\n".join(files) if rng.random() < 0.5 else "%d.raw 0 7 1"
    elif where == "scan.raw":
        files["scan.raw"] = data
    else:
        lines = "LOCAL"
    text = samples.META.format(packed=packing, where=lines)
    text = edit_text(text, rng) if rng.random() < 0.8 else text
    head = text.encode("utf-8", "surrogatepass")
    whole = head + data if where == "LOCAL" else head
    name = "scan.mha" if where == "LOCAL" else "scan.mhd"
    if rng.random() < 0.3:
        whole = damage(whole, rng, rng.choice((len(head), None)))
    return {name: whole, **files}, name


def _nrrd(rng: random.Random) -> Files:
    voxels = samples.VOXELS.tobytes(order="F")
    encoding = rng.choice(("raw", "gzip", "bzip2", "text", "hex"))
    data = {
        "raw": voxels,
        "gzip": gzip.compress(voxels),
        "bzip2": bz2.compress(voxels),
        "text": " ".join(map(str, samples.VOXELS.ravel(order="F"))).encode(),
        "hex": voxels.hex().encode(),
    }[encoding]
    text, files = samples.NRRD.format(encoding=encoding), {}
    detached = rng.random() < 0.3
    if detached:
        text += "data file: scan.raw\n"
        files["scan.raw"] = data
    if rng.random() < 0.3:
        text = text.replace("space directions: (0.8,0,0) (0,0.9,0) (0,0,2.5)\n", "spacings: 0.8 0.9 2.5\n")
    text = edit_text(text, rng) if rng.random() < 0.8 else text
    head = text.encode("utf-8", "surrogatepass") + b"\n"
    whole = head if detached else head + data
    name = "scan.nhdr" if detached else "scan.nrrd"
    if rng.random() < 0.3:
        whole = damage(whole, rng, rng.choice((len(head), None)))
    return {name: whole, **files}, name


def _change_element(data: pydicom.Dataset, rng: random.Random) -> None:
    """An element taken away, emptied, or set to what hurts; also within sequences."""
    element = rng.choice(list(data.iterall()))
    places = [data]
    for entry in data.iterall():
        if entry.VR == "SQ":
            places += list(entry.value)
    holder = next((place for place in places if element.tag in place and place[element.tag] is element), None)
    if holder is None:
        return
    how = rng.randrange(4)
    if how == 0:
        del holder[element.tag]
    elif element.VR in ("US", "UL", "SS"):
        element.value = rng.choice((0, 1, 2, 7, 8, 12, 32, 255, 4096, 65535))
    elif element.VR in ("DS", "IS"):
        count = rng.choice((1, 1, 2, 3, 6))
        short = [number for number in rng.choices(NUMBERS, k=count) if len(number) < 60]
        holder[element.tag] = pydicom.DataElement(element.tag, "LO", short)  # what is implicit is read as a number
    elif element.VR in ("OB", "OW"):
        element.value = damage(bytes(element.value), rng)
    elif element.VR in ("CS", "UI", "LO", "PN"):
        element.value = rng.choice(_WORDS)


def _dicom_bytes(data: pydicom.Dataset, rng: random.Random, packing: str = "none") -> bytes:
    data = copy.deepcopy(data)
    how = rng.randrange(3)
    if how == 0 and packing in ("none", "implicit", "deflated"):
        for _ in range(rng.choice((1, 1, 2))):
            _change_element(data, rng)
    try:
        raw = samples.dicom(data, packing)
    except Exception:  # what cannot be written in this way is written whole, and its bytes are damaged
        raw = samples.dicom(copy.deepcopy(samples.slice_set(0)), "none")
        how = 1
    if how == 1:
        raw = damage(raw, rng)
    elif how == 2:
        raw = _damage_lengths(raw, rng)
    return raw


def _damage_lengths(raw: bytes, rng: random.Random) -> bytes:
    """The length of an element, the kind of damage that asks for gigabytes."""
    changed = bytearray(raw)
    tag = struct.pack("<HH", *rng.choice(((0x28, 0x10), (0x20, 0x32), (0x7FE0, 0x10), (0x8, 0x60), (0x5200, 0x9230))))
    start = raw.find(tag, 132)
    if start < 0:
        return damage(raw, rng)
    long = raw[start + 4 : start + 6] in (b"OB", b"OW", b"SQ", b"UN")
    kind, place = ("<I", start + 8) if long else ("<H", start + 6)
    changed[place : place + struct.calcsize(kind)] = packed(kind, rng)
    return bytes(changed)


def _dicom_series(rng: random.Random) -> Files:
    files = {f"{number}.dcm": samples.dicom(samples.slice_set(number)) for number in range(4)}
    for name in rng.sample(sorted(files), rng.choice((1, 1, 4))):
        files[name] = _dicom_bytes(samples.slice_set(int(name[0])), rng, rng.choice(("none", "implicit")))
    if rng.random() < 0.1:
        del files[rng.choice(sorted(files))]
    return files, rng.choice((".", ".", sorted(files)[0]))


def _dicom_enhanced(rng: random.Random) -> Files:
    packing = rng.choice(("none", "implicit", "deflated"))
    return {"scan.dcm": _dicom_bytes(samples.enhanced_set(), rng, packing)}, "scan.dcm"


def _dicom_image(rng: random.Random) -> Files:
    packing = rng.choice(("none", "none", "implicit", "deflated"))
    return {"x.dcm": _dicom_bytes(samples.slice_set(0, samples.XRAY), rng, packing)}, "x.dcm"


def _dicom_compressed(rng: random.Random) -> Files:
    packing = rng.choice(("rle", "jpeg", "jpeg2000"))
    return {"x.dcm": _dicom_bytes(samples.slice_set(0, samples.XRAY), rng, packing)}, "x.dcm"


def _picture(rng: random.Random) -> Files:
    kind = rng.choice(("png", "png16", "palette", "jpeg", "tiff", "tiff16", "lzw"))
    raw = samples.picture(kind)
    if kind in ("tiff", "tiff16", "lzw") and rng.random() < 0.6:
        raw = _change_tags(raw, rng)
    elif kind.startswith("p") and rng.random() < 0.5:
        raw = _change_chunk(raw, rng)
    else:
        raw = damage(raw, rng)
    name = "a." + {"jpeg": "jpg", "png": "png", "png16": "png", "palette": "png"}.get(kind, "tif")
    return {name: raw}, name


def _change_tags(raw: bytes, rng: random.Random) -> bytes:
    """A TIFF with a tag left out, of another type, or of another value."""
    changed = bytearray(raw)
    start = struct.unpack_from("<I", raw, 4)[0]
    count = struct.unpack_from("<H", raw, start)[0]
    for _ in range(rng.choice((1, 1, 2))):
        place = start + 2 + 12 * rng.randrange(count)
        offset, kind = rng.choice(((0, "<H"), (2, "<H"), (4, "<I"), (8, "<I"), (8, "<H")))
        changed[place + offset : place + offset + struct.calcsize(kind)] = (
            struct.pack("<H", rng.randrange(14)) if offset == 2 else packed(kind, rng)
        )
    return bytes(changed)


def _change_chunk(raw: bytes, rng: random.Random) -> bytes:
    """A PNG with a chunk whose content is damaged and whose checksum is right."""
    file, chunks = io.BytesIO(raw), []
    file.read(8)
    while head := file.read(8):
        length, kind = struct.unpack(">I4s", head)
        chunks.append([kind, file.read(length)])
        file.read(4)
    chosen = rng.choice(chunks)
    chosen[1] = damage(chosen[1], rng) if chosen[1] else b"\0"
    if chosen[0] == b"IHDR" and rng.random() < 0.5:
        chosen[1] = set_fields(raw[16:29], [(0, ">i"), (4, ">i"), (8, "<B"), (9, "<B")], rng)
    out = raw[:8]
    for kind, body in chunks:
        out += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return out


def _label_map(rng: random.Random) -> Files:
    return rng.choice((_nifti, _nifti_pair, _meta_image, _nrrd, _dicom_series))(rng)


def _bomb(rng: random.Random) -> Files:
    """A small file that unpacks to what would fill the memory, or that promises it."""
    name = rng.choice(sorted(samples.BOMBS))
    return {name: samples.bomb(name)}, name


KINDS = {
    "nifti": Kind(read_scan, _nifti),
    "nifti2": Kind(read_scan, _nifti_two, weight=0.5),
    "nifti pair": Kind(read_scan, _nifti_pair, weight=0.5),
    "metaimage": Kind(read_scan, _meta_image),
    "nrrd": Kind(read_scan, _nrrd),
    "dicom series": Kind(read_scan, _dicom_series),
    "dicom enhanced": Kind(read_scan, _dicom_enhanced),
    "dicom image": Kind(read_image, _dicom_image),
    "dicom compressed": Kind(read_image, _dicom_compressed, weight=0.5),
    "picture": Kind(read_image, _picture),
    "label map": Kind(read_label_map, _label_map),
    "label picture": Kind(read_labels, _picture, weight=0.5),
    "bomb": Kind(read_bomb, _bomb, Limits(memory=100 << 20), weight=0.1),
}
