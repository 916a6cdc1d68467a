"""SIGTERM and Ctrl-C: a command ends in order, and its exit status says by what (143, 130)."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


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

    with _handled(end, signal.SIGTERM):
        yield


class Stop:
    """Whether a signal asked for a stop."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def requested(self) -> bool:
        return self.signal is not None

    def error(self) -> KeyboardInterrupt:
        return Terminated() if self.signal == signal.SIGTERM else KeyboardInterrupt()


@contextlib.contextmanager
def stopping() -> Iterator[Stop]:
    """Within it the first SIGTERM or Ctrl-C only sets `requested`; the second one ends the work at once.

    A loop asks between its steps (under torchrun all processes together, by `Process.any(stop.requested)`), writes its
    checkpoint and leaves the block; there Terminated or KeyboardInterrupt is raised.

        with stopping() as stop:
            for batch in batches:
                step(batch)
                if me.any(stop.requested):
                    checkpoint()
                    break
            ...  # nothing that counts the loop as finished

    A RuntimeError after the signal counts as the stop: the same signal may have ended the processes that read for the
    loop, or the other processes of the run.

    Raises:
        KeyboardInterrupt, Terminated: at the end, where a stop was asked for.
    """
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise stop.error()
        stop.signal = number

    with _handled(ask, signal.SIGTERM, signal.SIGINT):
        try:
            yield stop
        except RuntimeError as error:
            if stop.requested:
                raise stop.error() from error
            raise
    if stop.requested:
        raise stop.error()


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], Any], *numbers: signal.Signals) -> Iterator[None]:
    """Signals go to `handler`; where this is not the main thread, which alone may say so, all stays as it is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled if handled is not None else signal.SIG_DFL)
