"""SIGTERM and Ctrl-C in a loop: it ends between two steps, with a checkpoint."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from sg_hub.signals import Terminated, handled


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

    with handled(ask, signal.SIGTERM, signal.SIGINT):
        try:
            yield stop
        except RuntimeError as error:
            if stop.requested:
                raise stop.error() from error
            raise
    if stop.requested:
        raise stop.error()
