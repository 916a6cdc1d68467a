"""By how much the memory of this process grows."""

import contextlib
import ctypes
import gc
from pathlib import Path

import pytest


def peak_growth(work) -> float:
    """By how many MB the resident memory grows at most while `work` runs, over what it is before."""
    gc.collect()  # what earlier tests left is not freed in the middle of it,
    with contextlib.suppress(AttributeError):  # nor is memory that they freed taken again, which would be no growth
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # sets the peak back to what is resident now
    except OSError:
        pytest.skip("the peak of a process's memory is known on Linux alone")
    before = _peak()
    work()
    return _peak() - before


def _peak() -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
