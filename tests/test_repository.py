"""What stands beside the code says the same as the code."""

import re

import yaml

import sg_hub
from tests.folders import ROOT


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == sg_hub.__version__
    assert f"## {sg_hub.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_room_that_contributing_names_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:sg_hub|training|tests)/[\w/]*)", text)
    assert len(named) > 8
    for place in named:
        assert (ROOT / place.rstrip("/")).exists() or (ROOT / place).parent.exists(), place
