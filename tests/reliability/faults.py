"""Long commands meet a fault: each has to end in a clear error with the older files as they were, or as if nothing was.

    full disk     a file system of its own, with less room than the command needs; a real one (tmpfs)
    read-only     the folder may not be written to; a mount, so that it holds for root as well
    flipped bit   of a file that the command reads
    cut file      the same, cut off
    NaN           a learning rate that makes every loss infinite, or voxels that are no numbers
    two writers   the same command twice at once

What comes of it:

    clear      it ended with 2 (3: of some inputs only) and one line for every mistake; what was there is as it was; run
               again without the fault, it gives what it gives undisturbed
    unharmed   it ended with 0, with the files that it leaves undisturbed
    status     another exit status, or a traceback
    torn       a file was lost, or half of one is in its place
    other      it ended with 0 and other files; or the run after it did
    left       temporary files or processes stay
"""

from __future__ import annotations

import ctypes
import fnmatch
import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tests.reliability.commands import COMMANDS, DIVERGING, LONG, Command, room, temporary, undisturbed
from tests.reliability.compare import contents, neither, unlike
from tests.reliability.counts import Counts
from tests.reliability.processes import Fork

GOOD = ("clear", "unharmed")
CLASSES = (*GOOD, "status", "torn", "other", "left")
_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE, _DETACH = 1, 32, 4096, 16384, 1 << 18, 2
"""Flags of Linux' unshare, mount and umount2."""
_REFUSED = (2, 3)
"""Exit status of a command that made a mistake known, of which some of several inputs failed."""
_LONGEST = 300
"""Seconds of one run, on a busy machine."""
_CHECKED = {
    "autoencode": ("run/store.zarr/*",),
    "discover": ("run/store.zarr/*", "run/autoencoder/features.npz"),
    "pretrain": ("run/store.zarr/*", "run/discovery/patterns.csv", "run/discover.json"),
    "evaluate": ("run/store.zarr/*", "run/discovery/patterns.csv", "run/pretraining/*.safetensors"),
    "publish": ("run/pretraining/model/model.safetensors", "run/evaluation.json", "run/pretrain.json"),
}
"""Files that a command reads, and whose bits can be told from others."""
Faults = Mapping[str, Sequence[str]]
FAULTS: Faults = {
    "full disk": LONG,
    "read-only": LONG,
    "flipped bit": tuple(_CHECKED),
    "cut file": tuple(_CHECKED),
    "NaN": tuple(DIVERGING),
    "two writers": LONG,
}
"""And the commands that meet them."""
MOUNTED = ("full disk", "read-only")
"""Those that need a file system of their own."""


def fault(name: str, kind: str, seed: int, number: int) -> tuple[str, str]:
    """A command meets a fault: its class, and what was wrong."""
    command, rng = COMMANDS[name], random.Random(f"{kind} {name} {seed} {number}")
    folder = room(command, f"{name}-{kind}-{seed}-{number}".replace(" ", "-"))
    before, whole = contents(folder), contents(undisturbed(name).folder)
    harmed: dict[Path, bytes] = {}
    work, others = command.run, [command.run] if kind == "two writers" else []
    how = kind
    if kind == "full disk":
        needed = sum(path.stat().st_size for path in undisturbed(name).folder.rglob("*") if path.is_file())
        free = round(needed * rng.choice((0, rng.random(), rng.random() / 10)))
        work, how = partial(_on_a_full_disk, command, folder, free), f"{free} bytes free"
    elif kind == "read-only":
        work = partial(_read_only, command, folder)
    elif kind == "NaN":
        work = DIVERGING[name]
    elif kind in ("flipped bit", "cut file"):
        path = rng.choice(sorted(_checked_files(name, folder)))
        raw = harmed[path] = path.read_bytes()
        place = rng.randrange(len(raw))
        flipped = raw[:place] + bytes([raw[place] ^ 1 << rng.randrange(8)]) + raw[place + 1 :]
        path.write_bytes(raw[:place] if kind == "cut file" else flipped)
        how = f"{path.relative_to(folder)}, byte {place}"
    works = enumerate((work, *others))
    forks = [Fork(run, folder, folder.with_name(f"{folder.name}.{writer}")) for writer, run in works]
    for fork in forks:
        fork.wait(_LONGEST)
    found = _judge(command, kind, forks, folder, before, whole, harmed)
    for place in (folder, *folder.parent.glob(f"{folder.name}.*")):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    return found[0], f"{kind}, {name} {seed} {number}, {how}: {found[1]}"


def _judge(
    command: Command,
    kind: str,
    forks: list[Fork],
    folder: Path,
    before: dict[str, str],
    whole: dict[str, str],
    harmed: dict[Path, bytes],
) -> tuple[str, str]:
    for path, raw in harmed.items():
        path.write_bytes(raw)
    alone = [fork.end() for fork in forks]
    if not all(alone):
        return "left", "a process"
    for fork in forks:
        lines = [line for line in fork.said.splitlines() if line.startswith("sg-hub: error: ")]
        if fork.status not in (0, *_REFUSED) or "Traceback" in fork.said or (fork.status != 0) != bool(lines):
            return "status", f"{fork.status}: {fork.said[-1500:]}"
    there, refused = contents(folder), any(fork.status in _REFUSED for fork in forks)
    if all(fork.status in _REFUSED for fork in forks):
        torn = neither(there, before, whole, command.growing)
        if torn:
            return "torn", torn
        if kind != "NaN":  # a checkpoint of that learning rate is of another run
            again = Fork(command.run, folder, temporary(folder))
            again.wait(_LONGEST)
            if not again.end() or again.status != 0:
                return "status", f"the next run {again.status}: {again.said[-1500:]}"
    other = "" if kind == "NaN" and refused else unlike(contents(folder), whole)
    if other:
        return "other", other
    left = [path.name for place in folder.parent.glob(f"{folder.name}.*") if place.is_dir() for path in place.iterdir()]
    return ("left", f"temporary files {left}") if left else ("clear" if refused else "unharmed", "")


def _checked_files(name: str, folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    return [
        path
        for path in files
        if any(fnmatch.fnmatch(path.relative_to(folder).as_posix(), pattern) for pattern in _CHECKED[name])
    ]


def faults(
    kind: str, names: Sequence[str], count: int, seed: int, first: int, done: Callable[[], object], show: bool
) -> Counts:
    """A fault met by commands, each so many times."""
    counts = Counts(GOOD, show)
    for name in names:
        for number in range(first, first + count):
            counts.add(*fault(name, kind, seed, number))
            done()
    return counts


# -- file systems of a process's own ------------------------------------------------------------------------------


def can_mount(folder: Path) -> bool:
    """Whether this machine lets a process make mounts for itself; many containers do not."""

    def work() -> int:
        _own_mounts()
        return 0

    fork = Fork(work, folder, folder / "mount.tmp")
    fork.wait(20)
    fork.end()
    return fork.status == 0


def _own_mounts() -> None:
    """From here on this process has mounts of its own, and the right to make some."""
    user, group = os.getuid(), os.getgid()
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_USER | _NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
    _mount("none", Path("/"), "", _RECURSIVE | _PRIVATE)


def _mount(source: str | Path, target: Path, kind: str, flags: int, options: str = "") -> None:
    arguments = [os.fsencode(value) for value in (source, target, kind)]
    call = ctypes.CDLL(None, use_errno=True).mount
    if call(*arguments, ctypes.c_ulong(flags), os.fsencode(options) or None) != 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


def _on_a_full_disk(command: Command, folder: Path, free: int) -> int:
    """A command in a folder that is a file system with so many bytes free; its files go to the usual one at the end."""
    _own_mounts()
    small = folder.with_name(f"{folder.name}.small")
    small.mkdir()
    _mount("none", small, "tmpfs", 0, "size=1g")
    shutil.copytree(folder, small, symlinks=True, dirs_exist_ok=True)
    usage = os.statvfs(small)
    _mount(
        "none", small, "tmpfs", _REMOUNT, f"size={max(4096, (usage.f_blocks - usage.f_bfree) * usage.f_frsize + free)}"
    )
    _mount(small, folder, "", _BIND)
    os.chdir(folder)
    status = command.run()
    os.chdir("/")
    ctypes.CDLL(None).umount2(os.fsencode(folder), _DETACH)
    for place in folder.iterdir():
        shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()
    shutil.copytree(small, folder, symlinks=True, dirs_exist_ok=True)
    ctypes.CDLL(None).umount2(os.fsencode(small), _DETACH)
    return status


def _read_only(command: Command, folder: Path) -> int:
    _own_mounts()
    _mount(folder, folder, "", _BIND)
    _mount("none", folder, "", _REMOUNT | _BIND | _READ_ONLY)
    os.chdir(folder)
    return command.run()
