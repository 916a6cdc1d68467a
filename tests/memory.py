"""By how much the memory of this process grows."""

import contextlib
import gc
import threading
from pathlib import Path

import pytest


def peak_growth(work) -> float:
    """By how many MB the resident memory grows at most while `work` runs, over what it is before.

    The kernel's own peak is taken where it can be set back; some sandboxes take the request and do nothing, and there
    the memory that is looked at every 2 ms counts alone.
    """
    gc.collect()  # what earlier tests left is not freed in the middle of it
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("the memory of a process is known on Linux alone")
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # sets the peak back to what is resident now
    before = _megabytes("VmRSS")
    is_set_back = _megabytes("VmHWM") < before + 8
    samples = [before]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.002):
            samples.append(_megabytes("VmRSS"))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        work()
    finally:
        done.set()
        looking.join()
    if is_set_back:
        samples.append(_megabytes("VmHWM"))
    return max(samples) - before


def _megabytes(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))
