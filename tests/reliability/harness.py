"""Parsers are given damaged inputs, each in a process that may crash; what comes of it is counted.

    counts = run("tests.reliability.fuzz_io:read_scan", inputs)

Classes, of which the first two are as they should be:

    ok       read
    clear    an error of the package that names what was given
    unnamed  such an error without the name
    long     such an error with a message of many lines of a file
    raw      another exception
    crash    the process ended
    hang     more processor time than is allowed
    memory   more memory than is allowed
    outside  files were left that nobody asked for
"""

from __future__ import annotations

import json
import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.folders import ROOT

GOOD = ("ok", "clear")
CLASSES = (*GOOD, "unnamed", "long", "raw", "crash", "hang", "memory", "outside")
_EXAMPLES = 5
_STUCK = 600
"""Seconds after which a process that uses no processor time is given up."""


@dataclass(frozen=True)
class Input:
    """Files, and which of them (or `.`, their folder) the parser is given."""

    name: str
    """How it was made, so that it can be made again."""
    files: Mapping[str, bytes]
    target: str


@dataclass(frozen=True)
class Limits:
    """Of one input."""

    seconds: float = 10.0
    """Of processor time, of the process and those that it starts."""
    memory: int = 2 << 30
    """Bytes beside what the process has before it is given anything."""
    letters: int = 3000
    """Of a message."""


@dataclass
class Counts:
    """How many inputs are of each class, and the first few that are not as they should be."""

    classes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, what: str) -> None:
        self.classes[kind] += 1
        if kind not in GOOD and len(self.examples.setdefault(kind, [])) < _EXAMPLES:
            self.examples[kind].append(what)

    @property
    def total(self) -> int:
        return sum(self.classes.values())

    @property
    def bad(self) -> int:
        return self.total - sum(self.classes[kind] for kind in GOOD)

    def __str__(self) -> str:
        shown = ", ".join(f"{self.classes[kind]} {kind}" for kind in CLASSES if self.classes[kind])
        return f"{self.total} inputs: {shown}"


def run(parser: str, inputs: Iterable[Input], limits: Limits | None = None, workers: int = 2) -> Counts:
    """Give every input to a parser, in processes of their own.

    Args:
        parser: `module:function`; the function takes a path.
        workers: processes at a time; each takes one input after the other, and is replaced where it ends.
    """
    counts, lock, source = Counts(), threading.Lock(), iter(inputs)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with (
                tempfile.TemporaryDirectory(prefix="reliability-") as folder,
                _Worker(parser, Path(folder), limits) as one,
            ):
                while (given := _next(source, lock)) is not None:
                    kind, what = one.judge(given)
                    with lock:
                        counts.add(kind, f"{given.name}: {what}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return counts


def _next(source: Iterator[Input], lock: threading.Lock) -> Input | None:
    with lock:
        return next(source, None)


class _Worker:
    """A process that runs `worker.py`."""

    def __init__(self, parser: str, folder: Path, limits: Limits | None) -> None:
        self._parser, self._folder, self._limits = parser, folder, limits or Limits()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def judge(self, given: Input) -> tuple[str, str]:
        """Class of an input, and what was said or done."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        before = _processor_time(process.pid)
        try:
            pickle.dump((given.files, given.target), process.stdin)
            process.stdin.flush()
        except OSError:
            return self._crashed()
        began = time.monotonic()
        while not select.select([process.stdout], [], [], 0.5)[0]:
            used = _processor_time(process.pid) - before
            if used > self._limits.seconds or time.monotonic() - began > _STUCK:
                self._end()
                return "hang", f"{used:.0f} s of processor time"
        line = process.stdout.readline()
        if not line:
            return self._crashed()
        kind, what, memory = json.loads(line)
        if memory > self._limits.memory:
            self._end()
            return "memory", f"{memory / 2**30:.1f} GiB, then {kind}: {what}"
        return kind, what

    def _start(self) -> subprocess.Popen[bytes]:
        place = self._folder / "work"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(place)}
        limits = [str(self._limits.memory), str(self._limits.letters)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.worker", self._parser, *limits],
            cwd=place,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _crashed(self) -> tuple[str, str]:
        assert self._process is not None
        code = self._process.wait()
        self._end()
        return "crash", signal.Signals(-code).name if code < 0 else f"exit {code}"

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with process:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


def _processor_time(session: int) -> float:
    """Seconds of all processes of a session, and of those that they have waited for."""
    ticks = 0
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            ticks += sum(int(value) for value in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")
