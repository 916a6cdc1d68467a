"""The addresses of the page: each one's answer, and that nothing else, and nobody else, gets one."""

import json
import socket

import nibabel
import numpy as np
import pytest

from sg_hub import ReadError, load_scan
from sg_hub.view.server import HOST, Server
from tests.sg_hub.io.formats.dicom.dicom_files import VOLUME, write_series
from tests.sg_hub.view.conftest import NAMES, save

TURNED = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def test_the_page_and_what_it_needs_come_from_here_alone(page):
    status, headers, index = page.ask("GET", "")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for name in ("view.js", "viewer.js", "view.css", "niivue.js"):
        assert page.ask("GET", name)[0] == 200
        content = page.get(name).decode()
        assert name == "niivue.js" or "://" not in content
        assert name == "viewer.js" or f'"{name}"'.encode() in index
    assert b"://" not in index
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert headers["Referrer-Policy"] == "no-referrer"  # the token stays here
    assert headers["Cache-Control"] == "no-store"


def test_what_is_uploaded_comes_back_with_the_right_voxels_at_the_right_places(page, tmp_path):
    path = save(tmp_path, "a.nii.gz", direction=TURNED)  # its axes are not those of the patient
    opened = page.post(f"api/uploads/{page.upload(('a%20b/%C3%BC.nii.gz', path))}/open")
    assert opened == {"scans": [{"id": 1, "name": "ü.nii.gz"}]}
    scan = load_scan(path)
    described = page.get("api/scans/1")
    assert described["size"] == list(scan.size)
    assert described["orientation"] == scan.file_grid.orientation != "LPS"
    assert [window["name"] for window in described["windows"]][:2] == ["soft tissue", "lung"]
    image = nibabel.Nifti1Image.from_bytes(page.get("api/scans/1/volume.nii"))
    assert np.array_equal(np.asarray(image.dataobj), scan.array[0])
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
    assert np.allclose(image.affine @ [3, 4, 5, 1], [*(scan.to_mm(np.array([[3, 4, 5]]))[0] * [-1, -1, 1]), 1])


def test_a_folder_of_slices_is_a_scan_of_ct(page, tmp_path):
    files = [(f"case/{path.name}", path) for path in write_series(tmp_path / "case").iterdir()]
    page.post(f"api/uploads/{page.upload(*files, ('case/DICOMDIR', b'x'))}/open")
    image = nibabel.Nifti1Image.from_bytes(page.get("api/scans/1/volume.nii"))
    assert np.array_equal(np.asarray(image.dataobj), VOLUME.T - 1024)
    assert page.get("api/scans/1")["levels"] == "CT, HU"


def test_what_networks_say(page, session, tmp_path):
    session.add([save(tmp_path, "a.nii.gz", 1), save(tmp_path, "b.nii.gz", 2)])
    state = page.get("api/state")
    assert [scan["name"] for scan in state["scans"]] == ["a.nii.gz", "b.nii.gz"]
    assert (state["weights"]["name"], state["segmenter"]["classes"]) == ("SemanticGenesis3D", list(NAMES[1:]))
    assert page.post("api/scans/1/segmentation") == session.segment(1)
    labels = nibabel.Nifti1Image.from_bytes(page.get("api/scans/1/labels.nii"))
    assert np.array_equal(np.asarray(labels.dataobj), session._labels[1])
    at = [20.0, -10.0, 20.0]
    assert page.post("api/place", {"scan": 1, "other": 2, "at": at}) == session.place(1, 2, at)
    page.post("api/scans/2/features")
    assert page.get("api/scans/1/nearest") == session.nearest(1)
    assert page.get("api/scans/2/thumbnail.png").startswith(b"\x89PNG")
    assert page.ask("DELETE", "api/scans/2")[0] == 200
    assert [scan["id"] for scan in page.get("api/state")["scans"]] == [1]


def test_no_token_no_page(page):
    token = page.server.token
    assert len(token) >= 32
    assert Server(page.server.session).token != token
    for path in ("/", "/view.js", "/api/state", f"/{token}", f"/{token[:-1]}/", f"/{token}x/api/state", "/%/", "*"):
        status, _, said = page.ask("GET", "", whole_path=path)
        assert (status, token in json.dumps(said)) == (404, False), path


def test_only_this_machine_and_its_own_page_are_answered(page):
    assert page.server.server_address[0] == HOST == "127.0.0.1"
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:80", ""):
        assert page.ask("GET", "api/state", Host=host)[0] == 403, host
    for host in ("localhost:9999", "127.0.0.1", "[::1]:80"):  # as an ssh tunnel gives them
        assert page.ask("GET", "api/state", Host=host)[0] == 200, host
    assert page.ask("POST", "api/uploads", Origin="http://evil.example")[0] == 403
    assert page.ask("POST", "api/uploads", Origin="null")[0] == 403
    assert page.ask("POST", "api/uploads", Origin=f"http://{page.host}")[0] == 200
    assert page.ask("GET", "api/state", Origin="http://[")[0] == 400


@pytest.mark.parametrize(
    "path",
    [
        *("../server.py", "%2e%2e/server.py", "static/view.js", "/etc/passwd", "//etc/passwd", "api/scans/1/../state"),
        *("api/scans/x", "api/scans/-1", "api/scans/٣", "api/nothing", "view.js/", "api/scans/1/volume.nii/.."),
    ],
)
def test_no_other_file_and_no_other_address(page, path):
    assert page.ask("GET", path.replace("٣", "%D9%A3"))[0] == 404


def test_an_upload_writes_below_its_own_folder(page):
    for name in ("../a", "..%2Fa", "%2e%2e/%2e%2e/a", "%2Fetc%2Fa", "a/..%5Cb", ".a", "a%00b", "a/", "%FF/../../b"):
        status, _, said = page.ask("PUT", f"api/uploads/{page.upload()}/{name}", b"x")
        assert (status, "no name that a file can have" in str(said)) == (400, True), name
    assert page.ask("PUT", "api/uploads/99/a", b"x")[0] == 400
    assert list(page.server.session.uploads.folder.rglob("*")) == []


def test_limits(page):
    uploads = page.server.session.uploads
    uploads.most_bytes = 100
    number = page.upload(("a", b"x" * 60))
    status, _, said = page.ask("PUT", f"api/uploads/{number}/b", b"x" * 60)
    assert (status, "close other scans" in said["error"]) == (400, True)
    assert list(uploads.folder.iterdir()) == []  # the first file went with it, for nobody opens half an upload
    number = page.upload(("a", b"x" * 60))
    assert page.ask("PUT", f"api/uploads/{number}/b", b"x" * 101)[0] == 413
    assert page.ask("PUT", f"api/uploads/{number}/b", iter([b"x"]), **{"Transfer-Encoding": "chunked"})[0] == 411
    assert page.ask("PUT", f"api/uploads/{number}/b", **{"Content-Length": "-1"})[0] == 411
    assert page.ask("POST", "api/place", b" " * 70_000)[0] == 413
    assert [path.name for path in uploads.path(number).iterdir()] == ["a"]


def test_what_is_wrong_is_said(page, session, tmp_path):
    status, _, said = page.ask("POST", f"api/uploads/{page.upload(('a.nii.gz', b'nonsense'))}/open")
    assert status == 400
    assert said["error"].startswith("a.nii.gz")
    session.add([tmp_path / "gone.nii.gz", save(tmp_path, "a.nii.gz")])
    for method, path, body in (
        ("GET", "api/scans/1", None),
        ("GET", "api/scans/7/volume.nii", None),
        ("GET", "api/scans/2/labels.nii", None),
        ("POST", "api/scans/7/features", None),
        ("POST", "api/place", "nonsense"),
        ("POST", "api/place", {"scan": 2}),
        ("POST", "api/place", {"scan": 2, "other": 2, "at": [1, "x", 3]}),
        ("POST", "api/place", {"scan": [2], "other": 2, "at": [1, 2, 3]}),
        ("POST", "api/place", {"scan": 2, "other": 2, "at": [1, 2]}),
        ("POST", "api/place", {"scan": 2, "other": 2, "at": [1, 2, 1e999]}),
        ("POST", "api/place", {"scan": 2, "other": 2, "at": [1, 2, 10**400]}),
        ("POST", "api/place", "[" * 60_000),
    ):
        status, _, said = page.ask(method, path, body)
        assert (status, bool(said["error"])) == (400, True), (path, body)


def test_a_fault_of_ours_gives_no_details_away(page, session, monkeypatch, caplog):
    monkeypatch.setattr(session, "listed", lambda: 1 / 0)
    status, _, said = page.ask("GET", "api/state")
    assert (status, "division" in said["error"]) == (500, False)
    assert "ZeroDivisionError" in caplog.text
    assert page.server.token not in caplog.text


def test_nonsense_is_no_end_of_the_server(page, caplog):
    no_address = b"GET http://[/ HTTP/1.1\r\nHost: 127.0.0.1"
    for line in (b"\x00\xff", b"GET", b"GET / HTTP/1.1\r\nHost: \xff", b"PUT / HTTP/9.9", no_address):
        with socket.create_connection(page.server.server_address, timeout=5) as connection:
            connection.sendall(line + b"\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1 << 16)
    assert page.ask("GET", "api/state")[0] == 200
    assert "Traceback" not in caplog.text


def test_a_port_that_is_taken(page):
    with pytest.raises(ReadError, match="--port"):
        Server(page.server.session, page.server.server_address[1])
