"""The page of the demo's pictures."""

import re

from training.demo.page import CAPTIONS, MAKING, WITH_WEIGHTS, write_page


def test_pictures_are_in_the_order_of_the_job_with_what_is_good_in_them(tmp_path):
    places = ("run/demo/transforms.png", "restored.png", "run/demo/odd <1>.png", "model_cards/demo/transforms.png")
    places += ("run/demo/pretraining/curves.png", "organ-model/curves.png", "seen.png", "run/a/autoencoder/curves.png")
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"")
    page = write_page(tmp_path)
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "index.html"
    shown = re.findall(r'<img src="([^"]*)"', text)
    assert shown == [
        *("seen.png", "organ-model/curves.png", "restored.png", "run/a/autoencoder/curves.png"),
        "run/demo/transforms.png",
        *("run/demo/pretraining/curves.png", "run/demo/odd &lt;1&gt;.png"),
    ]
    assert re.findall("<h2>(.*)</h2>", text) == [WITH_WEIGHTS, MAKING, "More", "Next"]
    for name in ("seen.png", "restored.png", "transforms.png", "curves.png", "organ-model/curves.png"):
        assert all(words in text for words in CAPTIONS[name])
    assert f"--segmenter {tmp_path}/organ-model" in text
