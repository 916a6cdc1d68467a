"""The tests of loading and of timm's networks, on the lowest versions that pyproject.toml allows.

    python -m tests.lowest [pytest's arguments]

They are downloaded into a folder that is read before this environment's own packages. torch is not among them: a second
one takes gigabytes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib

from tests.support.folders import ROOT

LIGHT = {"huggingface_hub": (), "timm": ("--no-deps",)}
"""Packages that are taken down to their lowest version, and how pip is told to: timm would bring a torch."""
TESTS = (
    "tests/sg_hub/hub",
    "tests/sg_hub/models/families/test_timm_unet.py",
    "tests/sg_hub/models/families/test_timm_encoder.py",
)


def lowest() -> dict[str, str]:
    """The lower bounds of pyproject.toml, by package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = (re.match(r"([\w-]+)>=([\w.]+)", requirement) for requirement in project["dependencies"])
    return {match[1]: match[2] for match in found if match}


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        for package, options in LIGHT.items():
            wanted = f"{package}=={lowest()[package]}"
            install = ("install", "--quiet", "--no-warn-conflicts", "--target", folder, *options, wanted)
            subprocess.run([sys.executable, "-m", "pip", *install], check=True)
            print(f"with {wanted}", flush=True)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((folder, str(ROOT)))}
        command = [sys.executable, "-m", "pytest", *TESTS, *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
