"""Parsers are given damaged inputs, each in a process that may crash; what comes of it is counted.

    counts = run(read_scan, inputs)

Classes, of which the first two are as they should be:

    ok       read
    clear    an error of the package that names what was given
    unnamed  such an error without the name
    long     such an error with a message of many lines of a file
    raw      another exception
    crash    the process ended
    hang     more processor time than is allowed
    memory   more memory than is allowed
    outside  a file that nobody asked for was written, or is left
"""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sg_hub.errors import SgHubError
from tests.reliability.counts import Counts
from tests.reliability.processes import Fork, at_change, session_time

GOOD = ("ok", "clear")
CLASSES = (*GOOD, "unnamed", "long", "raw", "crash", "hang", "memory", "outside")
_STUCK = 600
"""Seconds after which a process that uses no processor time is given up."""
Parser = Callable[[Path], object]


@dataclass(frozen=True)
class Input:
    """Files, and which of them (or `.`, their folder) the parser is given."""

    name: str
    """How it was made, so that it can be made again."""
    files: Mapping[str, bytes]
    target: str


Files = tuple[dict[str, bytes], str]
"""And which of them is given."""


@dataclass(frozen=True)
class Limits:
    """Of one input."""

    seconds: float = 10.0
    """Of processor time, of the process and those that it starts."""
    memory: int = 2 << 30
    """Bytes beside what the process has before it is given anything."""
    letters: int = 3000
    """Of a message."""


@dataclass(frozen=True)
class Kind:
    """A parser, and how its inputs are made."""

    parse: Parser
    make: Callable[[random.Random], Files]
    """The same for the same random numbers."""
    limits: Limits = Limits()
    weight: float = 1.0
    """How many of its inputs there are in a whole run, as a share of what there are of others."""
    known_by: tuple[str, ...] = ()
    """Words of a message that name what was given, beside the names of its files."""

    def inputs(self, name: str, count: int, seed: int = 0, first: int = 0) -> Iterator[Input]:
        """Damaged inputs, number `first` and on: the same for the same seed and number."""
        for number in range(first, first + count):
            label = f"{name} {seed} {number}"
            yield Input(label, *self.make(random.Random(label)))


def run(
    kind: Kind,
    inputs: Iterable[Input],
    workers: int = 2,
    done: Callable[[], object] = lambda: None,
    show: bool = False,
) -> Counts:
    """Give every input to a kind's parser, in processes of their own.

    Args:
        workers: processes at a time; each takes one input after the other, and is replaced where it ends.
        done: called after each.
        show: print what came of each.
    """
    counts, source = Counts(GOOD, show), iter(inputs)
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(_Worker(kind, Path(folder) / str(k))) for k in range(workers)]
        busy: list[_Worker] = []
        while True:
            while idle and (given := next(source, None)) is not None:
                busy.append(idle.pop())
                busy[-1].give(given)
            if not busy:
                return counts
            ready = select.select(busy, [], [], 0.5)[0]
            for worker in list(busy):
                answer = worker.answer() if worker in ready else worker.given_up()
                if answer is not None:
                    counts.add(answer[0], f"{worker.given.name}: {answer[1]}")
                    busy.remove(worker)
                    idle.append(worker)
                    done()


class _Worker:
    """A process that takes one input after the other."""

    given: Input

    def __init__(self, kind: Kind, folder: Path) -> None:
        self._kind, self._folder, self._limits = kind, folder, kind.limits
        self._fork: Fork | None = None
        self._before: float | None = None
        """Processor time when it was first seen that an input is not done at once."""

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def fileno(self) -> int:
        return self._answers.fileno()

    def give(self, given: Input) -> None:
        self.given = given
        if self._fork is None:
            self._start()
        assert self._fork is not None
        self._before, self._began = None, time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # it has ended, which its answer says
            pickle.dump((given.files, given.target), self._inputs)
            self._inputs.flush()

    def answer(self) -> tuple[str, str]:
        """Class of the input, and what was said or done."""
        assert self._fork is not None
        try:
            kind, what, memory = pickle.load(self._answers)
        except (EOFError, pickle.UnpicklingError):
            self._fork.wait(10)
            status = self._fork.status or 0
            self._end()
            return "crash", signal.Signals(-status).name if status < 0 else f"exit {status}"
        if memory > self._limits.memory:
            self._end()
            return "memory", f"{memory / 2**30:.1f} GiB, then {kind}: {what}"
        return kind, what

    def given_up(self) -> tuple[str, str] | None:
        """The same where there is no answer yet: only whether it has taken too long."""
        assert self._fork is not None
        now = session_time(self._fork.pid)
        self._before = now if self._before is None else self._before
        used = now - self._before
        if used <= self._limits.seconds and time.monotonic() - self._began <= _STUCK:
            return None
        self._end()
        return "hang", f"{used:.0f} s of processor time"

    def _start(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        place = self._folder / "work"
        place.mkdir(parents=True)
        (ours_in, self_in), (self_out, ours_out) = os.pipe(), os.pipe()

        def work() -> int:
            low, high = sorted((ours_in, ours_out))
            for first, last in ((3, low), (low + 1, high), (high + 1, 4096)):  # whose end others wait for
                os.closerange(first, last)
            with open(ours_in, "rb") as inputs, open(ours_out, "wb") as answers:
                _serve(self._kind, inputs, answers)
            return 0

        self._fork = Fork(work, place, place)
        os.close(ours_in)
        os.close(ours_out)
        self._inputs: BinaryIO = open(self_in, "wb")  # noqa: SIM115
        self._answers: BinaryIO = open(self_out, "rb")  # noqa: SIM115

    def _end(self) -> None:
        fork, self._fork = self._fork, None
        if fork is not None:
            fork.end()
            self._answers.close()
            with contextlib.suppress(BrokenPipeError):
                self._inputs.close()


# -- in the worker ------------------------------------------------------------------------------------------------


def _serve(kind: Kind, inputs: BinaryIO, answers: BinaryIO) -> None:
    sys.dont_write_bytecode = True  # what is imported late is no file of a parser's
    base, size = _status("VmRSS"), _status("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (size + 3 * kind.limits.memory, resource.RLIM_INFINITY))
    here, written = Path.cwd(), list[str]()
    at_change(lambda count, place: written.append(place), Path("/"), but=(here, Path("/dev")))
    number = 0
    while True:
        try:
            files, target = pickle.load(inputs)
        except EOFError:
            return
        number += 1
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        written.clear()
        found, what = _judge(kind, files, target, here / f"input-{number}")
        if written:
            found, what = "outside", f"{written}, then {found}: {what}"
        pickle.dump((found, what[:2000], max(0, _status("VmHWM") - base)), answers)
        answers.flush()


def _judge(kind: Kind, files: Mapping[str, bytes], target: str, folder: Path) -> tuple[str, str]:
    folder.mkdir()
    for name, data in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    try:
        kind.parse(folder / target)
        found, what = "ok", ""
    except SgHubError as error:
        what = str(error)
        named = any(str(part) in what for part in (folder, *map(Path, files), *kind.known_by))
        found = ("clear" if len(what) <= kind.limits.letters else "long") if named else "unnamed"
    except BaseException as error:
        found, what = "raw", "".join(traceback.format_exception(error))[-1500:]
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - set(files)
    if left or os.listdir(folder.parent) != [folder.name]:
        found, what = "outside", f"{sorted(left)} {os.listdir(folder.parent)}"
    for entry in folder.parent.iterdir():
        shutil.rmtree(entry, ignore_errors=True)
    return found, what


def _status(key: str) -> int:
    """Bytes of a line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    return 0
