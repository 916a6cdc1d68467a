import http.client
import json
import threading
from urllib.parse import urlsplit

import numpy as np
import pytest

from sg_hub.io.scan import Scan
from sg_hub.view.server import Server
from sg_hub.view.session import Session
from tests.sg_hub.inference.networks import make_model, make_scan

NAMES = ("background", "liver", "tumour")


def save(folder, name, seed=0, size=(24, 20, 16), **changes):
    """A scan of whole numbers, with a geometry of its own, as a file."""
    made = make_scan(size, (2.0, 2.0, 3.0), seed=seed, smooth=True)
    scan = Scan(np.rint(made.array), **{"spacing": made.spacing, "origin": (10.0, -20.0, 5.0)} | changes)
    return scan.save(scan.array[0], folder / name)


@pytest.fixture
def session():
    model = make_model(head="segmentation", class_names=NAMES)
    with Session(model.eval()) as session:
        yield session


class Page:
    """What a browser asks of a server."""

    def __init__(self, server):
        self.server = server
        self.host = urlsplit(server.address).netloc

    def ask(self, method, path, body=None, whole_path=None, **headers):
        """Status, headers, and content, of which JSON is read."""
        connection = http.client.HTTPConnection(self.host, timeout=20)
        if isinstance(body, dict):
            body = json.dumps(body)
        connection.request(method, whole_path or f"/{self.server.token}/{path}", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.headers["Content-Type"] == "application/json":
            content = json.loads(content)
        return answer.status, answer.headers, content

    def get(self, path):
        status, _, content = self.ask("GET", path)
        assert status == 200, content
        return content

    def post(self, path, body=None):
        status, _, content = self.ask("POST", path, body)
        assert status == 200, content
        return content

    def upload(self, *files):
        """Number of an upload of (name, path or bytes)."""
        number = self.post("api/uploads")["upload"]
        for name, content in files:
            data = content if isinstance(content, bytes) else content.read_bytes()
            status, _, said = self.ask("PUT", f"api/uploads/{number}/{name}", data)
            assert status == 200, said
        return number


@pytest.fixture
def page(session):
    with Server(session) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Page(server)
        server.shutdown()
        thread.join()
