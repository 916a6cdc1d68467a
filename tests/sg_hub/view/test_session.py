"""What the page shows of scans, and that what it says is what the functions of sg_hub say."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import sg_hub
from sg_hub import InvalidInputError, ReadError, load_scan
from sg_hub.view import session as module
from sg_hub.view.session import Session
from tests.sg_hub.inference.networks import make_model
from tests.sg_hub.io.formats.dicom.dicom_files import VOLUME, write_series
from tests.sg_hub.view.conftest import save


def upload(session, *files):
    number = session.uploads.begin()
    for name, data in files:
        session.uploads.add(number, name, io.BytesIO(data), len(data))
    return number


def test_scans_of_files_folders_and_series(session, tmp_path):
    for name in ("a.nii.gz", "folder/b.nii.gz", "folder/deep/a.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(tmp_path, name)
    write_series(tmp_path / "series", VOLUME)
    write_series(tmp_path / "two" / "x", VOLUME, SeriesInstanceUID="1.2.3", SeriesDescription="chest")
    for file in write_series(tmp_path / "other", VOLUME, SeriesInstanceUID="1.2.4").iterdir():
        file.rename(tmp_path / "two" / "x" / f"other-{file.name}")
    paths = [tmp_path / name for name in ("a.nii.gz", "folder", "series", "two")]
    assert [entry.name for entry in session.add(paths)] == [
        *("a.nii.gz", "b.nii.gz", "deep/a.nii.gz", "series", "x: chest", "x: 1.2.4"),
    ]
    assert session.described(4)["levels"] == "CT, HU"
    assert all(session.scan(number).size == (12, 10, 6) for number in (4, 5, 6))
    assert session.scan(2).size == (24, 20, 16)


def test_scans_of_one_name_are_told_apart_by_their_folders(session, tmp_path):
    for patient in ("P1", "P2", "P3"):
        (tmp_path / patient).mkdir()
        save(tmp_path, f"{patient}/ct.nii.gz")
    assert [entry.name for entry in session.add([tmp_path])] == ["ct.nii.gz", "P2/ct.nii.gz", "P3/ct.nii.gz"]
    slices = [(path.name, path.read_bytes()) for path in write_series(tmp_path / "series", VOLUME).iterdir()]
    names = [session.open_upload(upload(session, *files))[0].name for files in (slices, slices)]
    assert names == ["dropped slices", "dropped slices (2)"]


def test_only_the_last_scans_stay_in_memory(session, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(module, "load_scan", lambda path, **settings: read.append(path.name) or load_scan(path))
    session.add([save(tmp_path, f"{number}.nii.gz", number) for number in range(4)])
    for number in (1, 2, 1, 3, 4, 1, 3, 2):
        session.scan(number)
    assert read == ["0.nii.gz", "1.nii.gz", "2.nii.gz", "3.nii.gz", "1.nii.gz"]


def test_a_label_map_is_that_of_predict_with_its_amounts(session, tmp_path):
    session.add([save(tmp_path, "a.nii.gz")])
    with pytest.raises(InvalidInputError, match="not segmented"):
        session.labels(1)
    classes = session.segment(1)
    scan = load_scan(tmp_path / "a.nii.gz")
    expected = sg_hub.predict(session.model, scan, output="labels", progress=False)
    (tmp_path / "labels.nii").write_bytes(session.labels(1))
    shown = load_scan(tmp_path / "labels.nii", labels=True)
    assert np.array_equal(shown.array[0], expected)
    assert np.allclose((shown.origin, shown.spacing), (scan.origin, scan.spacing))
    assert [(one["value"], one["name"]) for one in classes] == [(1, "liver"), (2, "tumour")]
    assert classes[0]["amount"] == f"{(expected == 1).sum() * 12 / 1000:.1f} ml"


def test_a_label_map_is_kept_though_other_scans_were_opened_meanwhile(session, tmp_path, monkeypatch):
    session.add([save(tmp_path, f"{number}.nii.gz", number) for number in range(4)])

    def predict(model, scan, **settings):
        for number in (2, 3, 4):
            session.scan(number)
        return np.ones(scan.size, dtype=np.uint8)

    monkeypatch.setattr(module, "predict", predict)
    session.segment(1)
    (tmp_path / "labels.nii").write_bytes(session.labels(1))
    assert load_scan(tmp_path / "labels.nii", labels=True).array.min() == 1


def test_a_place_is_that_of_locate(session, tmp_path):
    session.add([save(tmp_path, "a.nii.gz", 1), save(tmp_path, "b.nii.gz", 2)])
    scan, other = (load_scan(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz"))
    for at in scan.to_mm(np.array([[12, 10, 8], [5, 5, 5]])):
        found = session.place(1, 2, list(at))
        place, score = sg_hub.locate(session.model, scan, [at], other, least=0, progress=False)
        assert found["place"] == pytest.approx(place[0], abs=0.01)
        assert found["score"] == pytest.approx(score[0], abs=0.001)
        assert found["found"] == (score[0] >= 0.5)
    with pytest.raises(InvalidInputError, match="outside of"):
        session.place(1, 2, [1e4, 0, 0])


def test_the_nearest_are_those_of_the_least_distance_of_embeddings(session, tmp_path):
    session.add([save(tmp_path, f"{number}.nii.gz", number) for number in range(4)])
    assert session.nearest(1) == []  # none was described yet
    for number in (2, 3, 4):
        session.embed(number)
    vectors = [
        sg_hub.embed(session.model, load_scan(tmp_path / f"{number}.nii.gz"), progress=False) for number in range(4)
    ]
    distances = {number + 1: float(np.linalg.norm(vectors[number] - vectors[0])) for number in (1, 2, 3)}
    ranked = session.nearest(1)
    assert [one["id"] for one in ranked] == sorted(distances, key=distances.get)
    assert [one["distance"] for one in ranked] == pytest.approx(sorted(distances.values()), rel=1e-4)
    with Image.open(io.BytesIO(session.entry(2).thumbnail)) as picture:
        assert picture.size == (120, 120)  # coronal: 24 x 2 mm wide, 16 x 3 mm high


def test_what_was_uploaded_is_removed_with_its_last_scan_and_at_the_end(tmp_path):
    with Session(make_model().eval()) as session:
        folder = session.uploads.folder
        data = save(tmp_path, "a.nii.gz").read_bytes()
        first = session.open_upload(upload(session, ("a.nii.gz", data), ("b.nii.gz", data)))
        session.open_upload(upload(session, ("case/a.nii.gz", data)))
        assert [entry.name for entry in session.listed()] == ["a.nii.gz", "b.nii.gz", "case/a.nii.gz"]
        assert len(list(folder.iterdir())) == 2
        session.close(first[0].number)
        assert len(list(folder.iterdir())) == 2
        session.close(first[1].number)
        assert len(list(folder.iterdir())) == 1
        with pytest.raises(InvalidInputError, match="no scan 1"):
            session.scan(1)
        assert folder.stat().st_mode & 0o077 == 0  # nobody else reads patients' scans
    assert not folder.exists()


def test_bad_files_say_what_the_command_line_says(session, tmp_path, caplog, monkeypatch):
    (tmp_path / "a.nii.gz").write_bytes(b"")
    with pytest.raises(ReadError) as expected:
        load_scan(tmp_path / "a.nii.gz")
    with pytest.raises(ReadError) as error:
        session.open_upload(upload(session, ("a.nii.gz", b"")))
    assert session.said(error.value) == str(expected.value).replace(f"{tmp_path}/", "")
    with pytest.raises(InvalidInputError, match="nothing was given"):
        session.open_upload(session.uploads.begin())
    with pytest.raises(ReadError) as error:
        session.open_upload(upload(session, ("a.txt", b"1"), ("b.txt", b"2")))
    assert session.said(error.value).startswith("what was dropped ")
    monkeypatch.setattr(session, "scan", lambda number: bytearray(1 << 60))
    with pytest.raises(MemoryError):
        session.open_upload(upload(session, ("a.nii.gz", b"1")))
    assert session.listed() == []
    assert list(session.uploads.folder.iterdir()) == []


def test_an_uploaded_header_names_no_file_of_this_machine(tmp_path):
    (tmp_path / "secret.raw").write_bytes(bytes(8 * 8 * 8))
    header = (
        f"ObjectType = Image\nNDims = 3\nDimSize = 8 8 8\nElementType = MET_UCHAR\nElementSpacing = 1 1 1\n"
        f"ElementDataFile = {tmp_path / 'secret.raw'}\n"
    )
    with (
        Session(make_model().eval(), reading={"outside": True}) as session,
        pytest.raises(InvalidInputError, match="outside"),
    ):
        session.open_upload(upload(session, ("a.mhd", header.encode())))


def test_large_scans_and_channels_are_said(session, tmp_path, monkeypatch):
    session.add([save(tmp_path, "a.nii.gz")])
    assert session.described(1)["notes"] == []
    assert session.described(1)["orientation"] == "LPS"
    monkeypatch.setattr(module, "steps_of", lambda scan: (2, 2, 1))
    assert "every 2/2/1 voxel" in session.described(1)["notes"][0]


def test_weights_that_cannot_be_used_are_refused():
    with pytest.raises(InvalidInputError, match="3D weights"):
        Session(SimpleNamespace(NDIM=2))
    with pytest.raises(InvalidInputError, match="know no classes"):
        Session(make_model().eval(), make_model().eval())
    with Session(make_model().eval()) as session, pytest.raises(InvalidInputError, match="--segmenter"):
        session.segment(1)
