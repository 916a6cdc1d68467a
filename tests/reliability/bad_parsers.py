"""Parsers with every fault that the harness tells apart."""

import os
from pathlib import Path

from sg_hub.errors import ReadError


def fine(path: Path) -> None:
    assert path.read_bytes() == b"x"


def refuse(path: Path) -> None:
    raise ReadError(f"{path} is no file of ours")


def refuse_without_a_name(path: Path) -> None:
    raise ReadError("no file of ours")


def refuse_at_length(path: Path) -> None:
    raise ReadError(f"{path}: {'x' * 100_000}")


def fail(path: Path) -> None:
    raise ValueError("not foreseen")


def crash(path: Path) -> None:
    os.abort()


def run_for_ever(path: Path) -> None:
    while True:
        pass


def fill_memory(path: Path) -> None:
    assert len(b"x" * (300 << 20)) > 0


def leave_a_file(path: Path) -> None:
    (path.parent / "left").write_bytes(b"x")
