"""The page in a real browser, headless: what is drawn, and what mouse, keys, files and buttons do.

It needs Chromium, its driver, and selenium; the server that the page talks to is tested without them (test_server.py).
"""

import importlib.util
import io
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from sg_hub.io.pictures import colour_of
from tests.sg_hub.view.conftest import save

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1000,800"),
)
WAIT = 60
"""Seconds, at most."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium with its driver: apt install chromium-driver"),
    pytest.mark.skipif(importlib.util.find_spec("selenium") is None, reason="selenium is not installed"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.common.exceptions import SessionNotCreatedException

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    except SessionNotCreatedException as error:
        pytest.skip(f"{BROWSER} and {DRIVER} do not go together: {error.msg.splitlines()[0]}")
    yield driver
    driver.quit()


class Visitor:
    """Someone who looks at the page."""

    def __init__(self, browser, address):
        self.browser = browser
        browser.get(address)
        self.until(lambda: browser.execute_script("return document.body.dataset.ready"))

    def until(self, true):
        """Wait until something is so; gives it."""
        end = time.monotonic() + WAIT
        while not (value := true()):
            assert time.monotonic() < end, self.browser.find_element("tag name", "body").text
            time.sleep(0.05)
        return value

    def find(self, selector, side=None):
        return self.browser.find_element("css selector", f".pane.{side} {selector}" if side else selector)

    def text(self, selector, side=None):
        return self.find(selector, side).text

    def press(self, keys, side="left"):
        self.find(".stage", side).send_keys(keys)

    def click(self, x, y, side="left"):
        """At shares of the stage."""
        from selenium.webdriver import ActionChains

        stage = self.find(".stage", side)
        width, height = stage.size["width"], stage.size["height"]
        moved = ActionChains(self.browser).move_to_element_with_offset(stage, (x - 0.5) * width, (y - 0.5) * height)
        moved.click().perform()

    def place(self, side):
        """Of the cross-hairs, in mm, and the value there."""
        words = self.text(".where", side).replace(",", "").split()
        return [float(words[words.index(name) + 1]) for name in ("left", "posterior", "superior", "value")]

    def picture(self, side="left"):
        """(rows, columns, 3) of what is drawn."""
        with Image.open(io.BytesIO(self.find(".stage", side).screenshot_as_png)) as picture:
            return np.asarray(picture.convert("RGB")).astype(int)

    def colours(self, rgb, side="left"):
        """Number of pixels that are nearer to a colour than a tenth of the way to another."""
        return int((np.abs(self.picture(side) - rgb).max(-1) < 25).sum())


def test_two_scans_are_drawn_and_a_click_in_one_moves_the_other(browser, page, session, tmp_path, monkeypatch):
    asked = []
    found_by = session.place
    monkeypatch.setattr(session, "place", lambda *given: asked.append(given) or found_by(*given))
    session.add([save(tmp_path, "a.nii.gz", 1), save(tmp_path, "b.nii.gz", 2)])
    visitor = Visitor(browser, page.server.address)
    for side in ("left", "right"):
        assert np.ptp(visitor.picture(side).mean(-1)) > 200  # slices are seen, not a black field
        assert visitor.text(".error", side) == ""
    assert "Not for clinical use" in visitor.text("header")
    assert "SemanticGenesis3D" in visitor.text("#weights")
    visitor.click(0.45, 0.25)
    said = visitor.until(lambda: "score" in visitor.text("#place") and visitor.text("#place"))
    place = visitor.place("left")
    ((scan, other, at),) = asked
    assert (scan, other) == (1, 2)
    assert at == pytest.approx(place[:3], abs=0.06)
    found = found_by(scan, other, at)
    assert said.startswith("Found in the right scan" if found["found"] else "Hardly the same place")
    assert f"score {found['score']:.2f}" in said
    assert visitor.place("right")[:3] == pytest.approx(found["place"], abs=0.06)
    scan = session.scan(1)
    x, y, z = (int(value) for value in scan.to_voxels(np.array([place[:3]]))[0].round())
    assert place[3] == pytest.approx(scan.array[0, x, y, z], abs=0.01)
    visitor.press("\ue013")  # from between the voxels into the middle of one
    for keys, moved in (("\ue013", [0, 0, 3]), ("\ue015\ue015", [0, 0, -6]), ("\ue012", [-2, 0, 0]), ("p", [0, 2, 0])):
        before = np.array(visitor.place("left")[:3])
        visitor.press(keys)
        assert np.array(visitor.place("left")[:3]) - before == pytest.approx(moved, abs=0.11), keys
    brightness = visitor.picture().mean()
    visitor.press("w")
    assert visitor.find('.windows [aria-pressed="true"]', "left").text.startswith("lung")
    assert abs(visitor.picture().mean() - brightness) > 2
    names = browser.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert len(names) > 5
    assert all(name.startswith((page.server.address, "data:")) for name in names)
    said = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert said == []


def test_classes_and_nearest_patients_are_shown(browser, page, session, tmp_path):
    session.add([save(tmp_path, f"{number}.nii.gz", number) for number in range(4)])
    visitor = Visitor(browser, page.server.address)
    before = visitor.colours(colour_of(1)) + visitor.colours(colour_of(2))
    visitor.find("#opacity").send_keys("\ue010")  # End: opaque
    visitor.find('.segment[data-side="0"]').click()
    legend = visitor.until(lambda: visitor.text("#classes"))
    assert "liver: " in legend
    assert "tumour: " in legend
    visitor.until(lambda: visitor.colours(colour_of(1)) + visitor.colours(colour_of(2)) > before + 500)
    visitor.find("#nearest").click()
    visitor.until(lambda: visitor.text("#nearest-status").startswith("Nearest first"))
    names = [session.entry(one["id"]).name for one in session.nearest(1)]
    cards = browser.find_elements("css selector", "#patients button")
    assert [card.text.split("\n")[0] for card in cards] == names
    widths = "return [...document.querySelectorAll('#patients img')].map((image) => image.naturalWidth)"
    visitor.until(lambda: browser.execute_script(widths) == [120] * 3)
    cards[2].click()
    chosen = "return document.querySelector('.pane.right .scans').selectedOptions[0].text"
    visitor.until(lambda: browser.execute_script(chosen) == names[2])
    assert len(browser.find_elements("css selector", "#patients button")) == 3


DROP = """
const data = new DataTransfer();
data.items.add(new File([new Uint8Array(arguments[1])], arguments[0]));
document.querySelector(".pane.right .stage").dispatchEvent(
  new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
"""


def test_files_are_opened_and_what_is_wrong_is_said(browser, page, session, tmp_path):
    visitor = Visitor(browser, page.server.address)
    assert visitor.text(".empty", "left").startswith("Drop a scan here")
    (tmp_path / "bad.nii.gz").write_bytes(b"nonsense")
    visitor.find(".pick-files", "left").send_keys(str(tmp_path / "bad.nii.gz"))
    said = visitor.until(lambda: visitor.text(".error", "left"))
    assert said.startswith("bad.nii.gz")
    assert str(session.uploads.folder) not in said
    visitor.find(".pick-files", "left").send_keys(str(save(tmp_path, "good.nii.gz")))
    visitor.until(lambda: "24 × 2 mm" in visitor.text(".about", "left"))
    assert visitor.text(".error", "left") == ""
    data = save(tmp_path, "dropped.nii.gz", size=(20, 24, 16)).read_bytes()
    browser.execute_script(DROP, "dropped.nii.gz", list(data))
    visitor.until(lambda: "20 × 2 mm" in visitor.text(".about", "right"))
    assert [entry.name for entry in session.listed()] == ["good.nii.gz", "dropped.nii.gz"]
    assert visitor.text("#place").startswith("Click into one")
    visitor.find(".close", "right").click()
    visitor.until(lambda: visitor.text(".empty", "right"))
    assert [path.name for path in session.uploads.folder.iterdir()] == ["2"]
