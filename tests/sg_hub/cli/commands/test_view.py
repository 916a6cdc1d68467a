"""sg-hub view: an address is printed, its page answers, and at the end nothing is left."""

import json
import re
import threading
import urllib.request

import pytest

from sg_hub.cli import browser
from sg_hub.signals import Terminated
from sg_hub.view.server import Server
from tests.sg_hub.cli.saying import CT, XRAYS, assert_mistake

WARNING = "Open this address in a browser on this machine. Ctrl-C ends it.\n"


@pytest.fixture
def visited(monkeypatch, tmp_path):
    """Whoever serves is asked for its state, and stopped then by what this list holds first; the answers are added."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("DISPLAY", raising=False)
    found = []

    def serve(self):
        thread = threading.Thread(target=self.handle_request)
        thread.start()
        with urllib.request.urlopen(f"{self.address}api/state", timeout=20) as answer:
            state = json.load(answer)
        thread.join()
        stop = found.pop(0)
        found.extend([self.address, state, self.session.uploads.folder])
        raise stop

    monkeypatch.setattr(Server, "serve_forever", serve)
    return found


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 0), (Terminated(), 143)])
def test_it_serves_until_it_is_stopped(run, models, visited, stop, code):
    visited.append(stop)
    result = run("view", CT, "--model", models / "pretext", "--segmenter", models / "segmentation")
    address, state, folder = visited
    assert result[0] == code
    assert result[1].startswith(f"{address}\n{WARNING}")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", address)
    assert [scan["name"] for scan in state["scans"]] == [CT.rpartition("/")[2]]
    assert (state["weights"]["name"], state["segmenter"]["name"]) == ("pretext", "segmentation")
    assert not folder.exists()


def test_samples_and_a_browser(run, models, visited, monkeypatch):
    visited.append(KeyboardInterrupt())
    opened = []
    monkeypatch.setattr(browser.webbrowser, "open", lambda address: opened.append(address) or True)
    monkeypatch.setenv("DISPLAY", ":9")
    assert run("view", "--samples", "--model", models / "pretext")[0] == 0
    assert opened == visited[:1]
    assert len(visited[1]["scans"]) == 12


def test_mistakes_are_said_before_anything_is_served(run, models):
    pretext = models / "pretext"
    assert_mistake(run("view", CT, "--model", pretext, "--segmenter", pretext), "know no classes")
    assert_mistake(run("view", XRAYS[0], "--model", models / "pretext-2d"), "3D weights")
    assert_mistake(run("view", "--model", pretext, "--port", "99999"), "whole number")
    assert_mistake(run("view", "--list", "gone.txt", "--model", pretext), "gone.txt")
