"""SIGTERM and Ctrl-C: a command ends in order, and its exit status says by what (143, 130)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
_AGAIN_AFTER = 0.02
"""Seconds."""


class Terminated(KeyboardInterrupt):
    """What SIGTERM raises, as Ctrl-C raises its base."""


def exit_status(stopped: KeyboardInterrupt) -> int:
    """130 after Ctrl-C, 143 after SIGTERM, as shells have it."""
    return TERMINATED if isinstance(stopped, Terminated) else INTERRUPTED


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Within it SIGTERM raises Terminated, so that everything is put in order as after Ctrl-C. For whole commands."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    with handled(end, signal.SIGTERM), _raised_again():
        yield


@contextlib.contextmanager
def _raised_again() -> Iterator[None]:
    """A signal that comes while Python runs what it ignores exceptions of, such as a destructor, comes once more."""
    before = sys.unraisablehook

    def again(ignored: Any) -> None:
        stopped = ignored.exc_value
        if not isinstance(stopped, KeyboardInterrupt):
            before(ignored)
            return
        number = signal.SIGTERM if isinstance(stopped, Terminated) else signal.SIGINT
        threading.Timer(_AGAIN_AFTER, os.kill, (os.getpid(), number)).start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextlib.contextmanager
def handled(handler: Callable[[int, FrameType | None], Any], *numbers: signal.Signals) -> Iterator[None]:
    """Signals go to `handler`; where this is not the main thread, which alone may say so, all stays as it is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former if former is not None else signal.SIG_DFL)
