"""What one thread changes for the whole process, for as long as any thread needs it."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator


class ForAllThreads:
    """A context that the first thread enters and the last one leaves.

    Contexts that put back what they found, as `warnings.catch_warnings` does, leave the process changed where two
    threads enter them, and leave in the order in which they came.

    Args:
        make: the context to be entered once.
    """

    def __init__(self, make: Callable[[], contextlib.AbstractContextManager[object]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._within = 0
        self._held = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._held.enter_context(self._make())
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                self._held.close()


@contextlib.contextmanager
def _ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


without_warnings = ForAllThreads(_ignored)
"""No warnings of Python, such as those of a reader that says what it thinks of a file."""
