"""What stands beside the code says the same as the code."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import sg_hub
from tests.support.folders import ROOT


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == sg_hub.__version__
    assert f"## {sg_hub.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_room_that_contributing_names_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:sg_hub|training|tests)/[\w/.]*)", text)
    assert len(named) > 8
    for place in named:
        made_by_the_reader = re.search(r"[A-Z]{3}|your|my", Path(place).name)
        assert (ROOT / place).exists() or (made_by_the_reader and (ROOT / place).parent.exists()), place


def test_every_pinned_version_fits_what_the_package_asks_for():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = {canonicalize_name(r.name): r for r in (Requirement(line) for line in lines if not line.startswith("#"))}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    installed = {"training", "test"} | next(r.extras for r in map(Requirement, extras["test"]) if r.name == "sg_hub")
    asked = project["dependencies"] + [text for extra in sorted(installed) for text in extras[extra]]
    for requirement in (Requirement(text) for text in asked):
        if requirement.name == "sg_hub":
            continue
        pin = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(next(iter(pin.specifier)).version), requirement
