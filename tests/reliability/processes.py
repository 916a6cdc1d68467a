"""Processes that may crash, or are to be killed: forks of one that has imported everything, and has no threads.

A fork starts in no time, where a new Python would import torch for seconds. What computes is done in forks alone: the
threads of torch, zarr and ITK do not survive one.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from sg_hub.models.families.timm_import import import_timm
from tests.support.folders import ROOT

Result = TypeVar("Result")
RAW = 70
"""Exit status of a fork that an exception ended."""
_TICK = 0.002


_IMPORTED = ("SimpleITK", "nibabel", "pydicom", "matplotlib.pyplot", "scipy.ndimage", "sklearn", "zarr", "h5py")
_IMPORTED += tuple(f"sg_hub.cli.commands.{name}" for name in ("convert", "embed", "segment"))
_IMPORTED += ("training.publishing.finetuned", "training.publishing.publish", "training.trials.grids.benchmark")
_IMPORTED += ("training.cli.parser", "training.pretraining.autoencode", "training.discovery.discover")
"""What the forks would else import, each of them again."""
_folder: Path | None = None


def own_folder() -> Path:
    """What was given to `prepare_process`."""
    assert _folder is not None
    return _folder


def prepare_process(folder: Path) -> None:
    """What a process that is going to fork sets for itself and its forks: one thread, no network, no user's cache."""
    global _folder
    _folder = folder
    (folder / "cache").mkdir(exist_ok=True)
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    os.environ |= {"MPLBACKEND": "agg", "COLUMNS": "120"}
    caches = ("HF_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR")
    os.environ |= dict.fromkeys(caches, str(folder / "cache"))
    for name in _IMPORTED:
        importlib.import_module(name)
    import_timm()
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0  # which would be a thread
    tqdm.set_lock(threading.RLock())  # its own is shared by forks, and stays taken where one is killed that has it


class Fork:
    """A process that runs `work` in a folder, and is the first of a session of its own.

    Args:
        work: what it does; its result is the exit status.
        temporary: its folder of temporary files; what is printed is in files beside it.
        patience: seconds that the processes that it started have to end when it has.
    """

    def __init__(self, work: Callable[[], int], folder: Path, temporary: Path, patience: float = 10.0) -> None:
        self._patience = patience
        self._said = temporary.with_name(temporary.name + ".out")
        temporary.mkdir(parents=True, exist_ok=True)
        self.status: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _run(work, folder, temporary, self._said)

    @property
    def said(self) -> str:
        """What it printed, on standard output and standard error."""
        return self._said.read_text(encoding="utf-8", errors="replace") if self._said.exists() else ""

    @property
    def processor_time(self) -> float:
        """Seconds, of this process without those that it started; nothing where it has ended."""
        with contextlib.suppress(OSError):
            return time.clock_gettime((~self.pid << 3) | 2)  # what clock_getcpuclockid gives on Linux
        return 0.0

    def ended(self) -> bool:
        """Whether it has ended; `status` is then its exit status, or a signal's number, negative."""
        if self.status is None:
            number, status = os.waitpid(self.pid, os.WNOHANG)
            if number:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait until it has ended, or something else is so, or for a time; returns whether it has ended."""
        end = time.monotonic() + seconds
        while not self.ended() and not until() and time.monotonic() < end:
            time.sleep(_TICK)
        return self.ended()

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if not self.ended():
                os.kill(self.pid, number)

    def end(self) -> bool:
        """Make sure that nothing of the session is left; returns whether nothing was, a moment after its end."""
        self.send(signal.SIGKILL)
        self.wait(60)
        end = time.monotonic() + self._patience
        while not (alone := not processes_of(self.pid)) and time.monotonic() < end:
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return alone


def _run(work: Callable[[], int], folder: Path, temporary: Path, said: Path) -> None:
    """What a fork does; never returns."""
    status = RAW
    try:
        os.setsid()
        with open(os.devnull, "rb") as nothing, open(said, "wb") as out:
            os.dup2(nothing.fileno(), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        os.chdir(folder)
        status = work()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def of_a_fork(work: Callable[[], Result]) -> Result:
    """What a function gives, computed in a fork: here no thread is left of it.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        answer = Path(folder) / "answer"

        def write() -> int:
            answer.write_bytes(pickle.dumps(work()))
            return 0

        fork = Fork(write, Path(folder), Path(folder) / "tmp")
        fork.wait(600)
        fork.end()
        if fork.status != 0:
            raise RuntimeError(f"{work} ended with {fork.status}: {fork.said}")
        result: Result = pickle.loads(answer.read_bytes())
        return result


def processes_of(session: int) -> list[int]:
    """Processes of a session, but for those that have ended and that nobody has waited for yet."""
    return [pid for pid, fields in _stats() if int(fields[3]) == session and fields[0] not in "ZX"]


def session_time(session: int) -> float:
    """Seconds of processor time of all processes of a session, and of those that they have waited for."""
    ticks = sum(sum(map(int, fields[11:15])) for _, fields in _stats() if int(fields[3]) == session)
    return ticks / os.sysconf("SC_CLK_TCK")


def _stats() -> list[tuple[int, list[str]]]:
    """Of every process its number, and what /proc says behind its name: state, parent, group, session, ..."""
    found: list[tuple[int, list[str]]] = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = place.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH):
                raise
            continue
        found.append((int(place.parent.name), text.rpartition(")")[2].split()))
    return found


def at_change(act: Callable[[int, str], Any], below: Path, but: Sequence[Path] = ()) -> Callable[[], int]:
    """Have `act` called with the number (1, 2, ...) and the place of every change of the files of a folder, right
    before it happens: files opened for writing, renamed, linked, removed, made. For the rest of this process.

    Args:
        but: folders below it that do not count.

    Returns:
        gives their count so far.
    """
    count, inside = 0, False
    root, others = _as_prefix(below), tuple(map(_as_prefix, but))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count, inside
        if inside or not _changes(event, arguments):
            return
        inside = True
        try:
            places = [place for place in map(_path, arguments[:2]) if place]
            place = next((place for place in places if place.startswith(root) and not place.startswith(others)), None)
            if place is not None:
                count += 1
                act(count, place)
        finally:
            inside = False

    sys.addaudithook(hook)
    return lambda: count


_CHANGES = {"os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _changes(event: str, arguments: tuple[Any, ...]) -> bool:
    return event in _CHANGES or (event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & _WRITING))


def _path(place: Any) -> str | None:
    """The full path of what an event is about; None where it is none."""
    if isinstance(place, str | bytes | os.PathLike):
        with contextlib.suppress(ValueError):
            return os.path.abspath(os.fsdecode(place))
    return None


def _as_prefix(folder: Path) -> str:
    return os.path.join(os.path.abspath(folder), "")
