"""How the parts measure: things that are compared run alternately, and medians count."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

WARMING = 0.3
"""Seconds. Threads that linear algebra has used spin for 0.2 s before they wait (numpy's in the first call of `elastic`
made it look twice as slow), and the processor's time of a process counts them."""


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    what: str
    value: float
    unit: str
    against: str = ""
    """What it is held against, with its value in the same unit."""
    other: float | None = None
    ratio: float | None = None
    """Of the value to the other one."""
    goal: str = ""

    def as_json(self) -> dict[str, Any]:
        return {key: _short(value) for key, value in asdict(self).items() if value not in ("", None)}


def _short(value: Any) -> Any:
    return float(f"{value:.3g}") if isinstance(value, float) else value


@contextmanager
def threads(count: int) -> Iterator[Callable[[], float]]:
    """That many threads of torch, and the clock for them: of one the processor's time, which other work hardly changes;
    of several the time that passes."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield time.process_time if count == 1 else time.perf_counter
    finally:
        torch.set_num_threads(before)


def alternately(
    functions: Mapping[str, Callable[[], object]], clock: Callable[[], float], rounds: int = 9, warming: float = WARMING
) -> dict[str, list[float]]:
    """Seconds of each function in every round, after those of the first `warming` seconds, at least one."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    warm = time.monotonic() + warming
    while functions:
        for function in functions.values():
            function()
        if time.monotonic() > warm:
            break
    for _ in range(rounds):
        for name, function in functions.items():
            _wait()
            start = clock()
            function()
            _wait()
            taken[name].append(clock() - start)
    return taken


def compared(
    what: str,
    unit: str,
    seconds: dict[str, list[float]],
    scale: float,
    goal: str = "",
    ours: str = "ours",
) -> list[Row]:
    """One row for each thing that ours is held against; a row alone where there is none. scale: units in a second."""
    value = statistics.median(seconds[ours]) * scale
    rows = []
    for name, times in seconds.items():
        if name != ours:
            ratio = statistics.median(a / b for a, b in zip(seconds[ours], times, strict=True))
            rows.append(Row(what, value, unit, name, statistics.median(times) * scale, ratio, goal))
    return rows or [Row(what, value, unit, goal=goal)]


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
