"""Scans and images below a folder: formats, names of files, links, and names in several compositions."""

import gzip
import os
import unicodedata
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.finder import find_images, find_scans, plain_name
from tests.sg_hub.io.formats.dicom.test_series import make_series
from tests.sg_hub.io.xray_files import write_xray

PIXELS = np.arange(48, dtype=np.uint16).reshape(6, 8)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def write_structures(path: Path) -> None:
    """A DICOM file without an image."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    data = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.Modality = "RTSTRUCT"
    data.save_as(path)


def test_scans_of_every_format_are_named_by_their_place(tmp_path):
    for name in ("a.nii", "site/b.nii.gz", "site/c.MHA", "d.mhd", "e.nrrd", "f.nhdr"):
        touch(tmp_path / name)
    (tmp_path / "g.hdr").write_bytes(b"\0" * 344 + b"ni1\0")
    for name in ("g.img", "d.raw", "notes.txt", "envi.hdr", ".hidden.nii", ".cache/h.nii", "store.zarr/i.nii"):
        touch(tmp_path / name)
    make_series(tmp_path / "p1" / "study")
    found = find_scans(tmp_path)
    assert list(found) == ["a", "d", "e", "f", "g", "p1/study", "site/b", "site/c"]
    assert found["p1/study"] == tmp_path / "p1" / "study"
    assert found["site/c"] == tmp_path / "site" / "c.MHA"
    assert list(find_scans(tmp_path / "p1" / "study")) == ["study"]


@pytest.mark.parametrize("name", ["CT.1.2.826.0.{}", "1.2.826.0.{}", "{}.dicom", "{}", "{}.IMA", "IM{}.bak"])
def test_dicom_is_told_by_its_content(tmp_path, name):
    for number, path in enumerate(make_series(tmp_path / "case")):
        path.rename(path.with_name(name.format(number)))
    (tmp_path / "case" / "LICENSE").write_text("no slice", encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "README").write_text("no slice", encoding="utf-8")
    write_structures(tmp_path / "plan" / "rs.dcm")
    assert find_scans(tmp_path) == {"case": tmp_path / "case"}


def test_dicom_without_its_preamble(tmp_path):
    for path in make_series(tmp_path / "case"):
        raw = path.read_bytes()
        path.with_suffix("").write_bytes(raw[132:])
        path.unlink()
    assert list(find_scans(tmp_path)) == ["case"]


def test_images_of_every_format(tmp_path):
    for name in ("a.png", "deep/b.JPG", "c.tiff"):
        touch(tmp_path / name)
    write_xray(tmp_path / "1.2.826.0.7", PIXELS)
    write_xray(tmp_path / "d.dicom", PIXELS)
    write_structures(tmp_path / "DICOMDIR")
    touch(tmp_path / "table.csv")
    assert list(find_images(tmp_path)) == ["1.2.826.0.7", "a", "c", "d", "deep/b"]


def test_links_are_followed_once(tmp_path):
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    make_series(elsewhere / "c0")
    touch(elsewhere / "c1.nii")
    root.mkdir()
    (root / "c0").symlink_to(elsewhere / "c0")
    (root / "c1.nii").symlink_to(elsewhere / "c1.nii")
    touch(root / "real" / "c2.nii")
    (root / "again").symlink_to(root / "real")
    (root / "loop").symlink_to(root)
    assert list(find_scans(root)) == ["c0", "c1", "real/c2"]


@pytest.mark.parametrize("name", ["Müller", "Ångström", "한글"])
def test_names_are_composed(tmp_path, name):
    path = touch(tmp_path / unicodedata.normalize("NFD", f"{name}.nii.gz"))
    assert find_scans(tmp_path) == {unicodedata.normalize("NFC", name): path}
    assert plain_name(path.name, (".nii.gz",)) == unicodedata.normalize("NFC", name)
    touch(tmp_path / unicodedata.normalize("NFC", f"{name}.nii.gz"))
    with pytest.raises(InvalidInputError, match="have the same name"):
        find_scans(tmp_path)


def test_two_of_one_name(tmp_path):
    touch(tmp_path / "a.nii")
    touch(tmp_path / "a.nii.gz")
    with pytest.raises(InvalidInputError, match=r"a\.nii and .*a\.nii\.gz have the same name: rename one"):
        find_scans(tmp_path)


def test_what_may_not_be_looked_at_is_said(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ReadError, match=r"closed cannot be looked at \(Permission denied\): ask for the right"):
        find_scans(tmp_path)
    with pytest.raises(ReadError, match="is no folder: give the folder"):
        find_images(tmp_path / "none")


def test_packed_pairs_are_found_and_other_headers_are_not(tmp_path):
    (tmp_path / "a.hdr.gz").write_bytes(gzip.compress(b"\0" * 344 + b"ni1\0"))
    (tmp_path / "b.hdr.gz").write_bytes(gzip.compress(b"ENVI"))
    (tmp_path / "c.hdr.gz").write_bytes(b"no gzip")
    (tmp_path / "a.img.gz").touch()
    assert find_scans(tmp_path) == {"a": tmp_path / "a.hdr.gz"}
