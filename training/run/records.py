"""What a run writes beside its result: metrics, checkpoints, and a record of everything that determined it."""

from __future__ import annotations

import io
import json
import os
import pickle
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.files import write_atomic, write_json

from .recipe import Recipe, resolved

PACKAGES = ("torch", "numpy", "zarr", "SimpleITK", "huggingface_hub", "safetensors", "scipy")


def read_json(path: Path, made_by: str) -> Any:
    """A JSON file of an earlier step; an error that names the step where it is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReadError(f"{path} is not there yet: run `python -m training {made_by}` first") from None
    except ValueError as error:
        raise ReadError(f"{path} is damaged ({error}): remove it and run `training {made_by}` again") from error


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """torch.save, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def load_checkpoint(path: Path, determined_by: str) -> dict[str, Any] | None:
    """The state of an interrupted run, or None.

    Raises:
        ReadError: it belongs to another recipe or other data.
    """
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ReadError(f"{path} is damaged ({error}): remove it to start afresh") from error
    if state["determined_by"] != determined_by:
        raise ReadError(
            f"{path} was written with another recipe or other data: "
            "give another run=FOLDER, or remove the checkpoint to start afresh"
        )
    return state


class Metrics:
    """A JSON-lines file that a resumed run continues where its checkpoint was."""

    def __init__(self, path: Path, enabled: bool = True, tensorboard: bool = False) -> None:
        self.path, self.enabled = path, enabled
        self._board = None
        if enabled and tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise InvalidInputError("--tensorboard needs TensorBoard: pip install tensorboard") from None
            self._board = SummaryWriter(path.parent / "tensorboard")

    def close(self) -> None:
        if self._board is not None:
            self._board.close()

    def position(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def truncate(self, position: int) -> None:
        """Forget what was written after the checkpoint: it is going to be computed again."""
        if self.enabled and self.path.is_file():
            os.truncate(self.path, min(position, self.position()))

    def write(self, **values: Any) -> None:
        if not self.enabled:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        if self._board is not None:
            for key, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{values.get('stage', '')}/{key}", value, values.get("step", 0))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    # A last line without its end was cut off by a crash: it is computed again.
    return [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")
    ]


def record(recipe: Recipe, step: str, **more: Any) -> dict[str, Any]:
    """Who, what and with which versions: written beside the result of `step`."""
    value = {
        "step": step,
        "recipe": resolved(recipe),
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": machine(),
        "commit": commit(),
        "written": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        **more,
    }
    write_json(recipe.run_dir / f"{step}.json", value)
    return value


def machine() -> str:
    """The processor or the GPUs that this process computes on, in words."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    model = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    return f"{os.cpu_count()} CPU cores ({model}), no GPU"


def commit() -> str:
    """Commit hash of the code, with a mark where files were changed since; `unknown` outside a checkout."""
    folder = Path(__file__).parent.parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", "../sg_hub")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _versions() -> dict[str, str]:
    found = {}
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
