"""docs/images/view.png, the page of `sg-hub view` with the same place in two samples, their classes, nearest patients.

    sg-hub finetune --init semantic-genesis-3d-tiny --target training/demo/samples/organs.toml --out organ-model
    python -m docs.scripts.view ./organ-model

It needs Chromium, its driver (apt install chromium-driver), and selenium.
"""

from __future__ import annotations

import io
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

import sg_hub
from sg_hub.view.server import Server
from sg_hub.view.session import Session

ROOT = Path(__file__).parent.parent.parent
SCANS = ROOT / "training" / "demo" / "samples" / "openkbp" / "ct"
OUT = ROOT / "docs" / "images" / "view.png"
SHOWN = {"left": "pt_222.nii.gz", "right": "pt_230.nii.gz"}
PLACE = (262.5, 98.4, 162.0)
"""The larynx of the left one, in mm, LPS."""
KEYS = ((Keys.ARROW_LEFT, Keys.ARROW_RIGHT), ("a", "p"), (Keys.ARROW_DOWN, Keys.ARROW_UP))
"""That go a voxel back and forth along x, y and z."""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1500,1400")


def until(true: Callable[[], Any]) -> Any:
    """Wait until something is so; gives it."""
    end = time.monotonic() + 300
    while not (value := true()):
        if time.monotonic() > end:
            raise SystemExit("the page does not go on: see what it says in a browser")
        time.sleep(0.1)
    return value


def show(browser: webdriver.Chrome, session: Session) -> None:
    """Do what somebody would do on the page."""

    def find(selector: str, side: str = "") -> Any:
        return browser.find_element("css selector", f".pane.{side} {selector}" if side else selector)

    until(lambda: browser.execute_script("return document.body.dataset.ready"))
    for side, name in SHOWN.items():
        Select(find(".scans", side)).select_by_visible_text(name)
        number = next(entry.number for entry in session.listed() if entry.name == name)
        size = f"x {session.scan(number).size[0]} "
        until(lambda side=side, size=size: find(".about", side).text.startswith(size))
        until(lambda side=side: not find(".busy", side).is_displayed())
    for number in range(len(SHOWN)):
        find(f'.segment[data-side="{number}"]').click()
        until(lambda number=number: browser.find_elements("css selector", f'#classes [data-side="{number}"]'))
    find("#nearest").click()
    until(lambda: find("#nearest-status").text.startswith("Nearest first"))
    left = next(entry.number for entry in session.listed() if entry.name == SHOWN["left"])
    for axis, step in enumerate(session.scan(left).spacing):
        words = find(".where", "left").text.replace(",", "").split()
        here = float(words[2 * axis + 1])
        count = round((PLACE[axis] - here) / step)
        find(".stage", "left").send_keys(KEYS[axis][count > 0] * abs(count))
    until(lambda: "score" in find("#place").text)
    time.sleep(1)  # drawn


def main(model_folder: str) -> None:
    """Take the picture."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in FLAGS:
        options.add_argument(flag)
    weights = sg_hub.from_pretrained("semantic-genesis-3d-tiny")
    with Session(weights, sg_hub.from_pretrained(model_folder)) as session, Server(session) as server:
        session.add([SCANS])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            browser.get(server.address)
            show(browser, session)
            height = browser.execute_script("return Math.ceil(document.body.getBoundingClientRect().bottom)")
            with Image.open(io.BytesIO(browser.get_screenshot_as_png())) as picture:
                whole = picture.convert("RGB").crop((0, 0, picture.width, min(picture.height, height + 8)))
            whole.quantize(256).save(OUT, optimize=True)
        finally:
            browser.quit()
            server.shutdown()
    print(OUT, whole.size)


if __name__ == "__main__":
    main(sys.argv[1])
