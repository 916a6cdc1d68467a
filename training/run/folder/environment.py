"""Where a result was made: the machine, the versions of what was used, and the commit of the code."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ..precision import has_bfloat16

NO_BFLOAT16 = "without bfloat16"
"""Of a machine, where float32 is used instead."""
PACKAGES = ("torch", "numpy", "zarr", "SimpleITK", "huggingface_hub", "safetensors", "scipy")


def machine() -> str:
    """The processor or the GPUs that this process computes on, in words."""
    lacks = "" if has_bfloat16("cuda" if torch.cuda.is_available() else "cpu") else f", {NO_BFLOAT16}"
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}{lacks}"
    model = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    return f"{os.cpu_count()} CPU cores ({model}{lacks}), no GPU"


def commit() -> str:
    """Commit hash of the code, with a mark where files were changed since; `unknown` outside a checkout."""
    folder = Path(__file__).parents[2]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", "../sg_hub", "../benchmarks")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def versions() -> dict[str, str]:
    """Of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
