"""The page of the demo's pictures."""

import re

from training.demo.page import CAPTIONS, write_page


def test_pictures_are_in_the_order_of_the_job_with_what_is_good_in_them(tmp_path):
    for place in ("run/demo/transforms.png", "restored.png", "run/demo/odd <1>.png", "model_cards/demo/transforms.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"")
    page = write_page(tmp_path)
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "index.html"
    shown = re.findall(r'<img src="([^"]*)"', text)
    assert shown == ["restored.png", "run/demo/transforms.png", "run/demo/odd &lt;1&gt;.png"]
    for name in ("restored.png", "transforms.png"):
        assert all(words in text for words in CAPTIONS[name])
