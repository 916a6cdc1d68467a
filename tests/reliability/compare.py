"""What is in folders, without what differs from run to run: times, and where a process was."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

_VOLATILE = {"record_sha256", "written", "minutes", "seconds", "since", "cubes_per_second", "metrics"}
_VOLATILE |= {"commit", "commit_at_start", "commit_at_end", "cost"}
_MINUTES = re.compile(rb"[0-9.]+ (minutes|min|s)\b|\b[0-9a-f]{40}\b(\+changes)?")
"""And the commit of the code, which a card names."""
_LEFT = (".unfinished-*", "*.partial", "*.tmp", "*.older")
"""Names of what is not finished."""


def contents(folder: Path) -> dict[str, str]:
    """By path a hash of what is in each file, or what it is; empty folders too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_dir():
            if not any(path.iterdir()):
                found[name] = "empty folder"
        else:
            found[name] = hashlib.sha256(_steady(path)).hexdigest()[:12] + f" {stat.S_IMODE(path.stat().st_mode):o}"
    return found


def unlike(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """What is missing, too much or another; empty where nothing is."""
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is left" for name in found if name not in expected]
    problems += [f"{name} differs" for name in found if name in expected and found[name] != expected[name]]
    return "; ".join(problems[:8])


def neither(
    found: Mapping[str, str], before: Mapping[str, str], after: Mapping[str, str], growing: Sequence[str]
) -> str:
    """What is neither as before a command nor as after it, and what was lost; but for what grows bit by bit."""
    problems = []
    for name in {*found, *(before.keys() & after.keys())}:
        allowed = (before.get(name, "not there"), after.get(name, "not there"))
        parts = name.split("/")
        if found.get(name, "not there") in allowed or any(fnmatch.fnmatch(name, pattern) for pattern in growing):
            continue
        if any(fnmatch.fnmatch(part, pattern) for part in parts for pattern in (*_LEFT, ".lock")):
            continue  # the next run clears it away
        if found[name] == "empty folder" if name in found else False:
            continue
        problems.append(f"{name} is {'half written' if name in found else 'lost'}")
    return "; ".join(sorted(problems)[:8])


def _steady(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.suffix in (".json", ".jsonl"):
        lines = raw.splitlines() if path.suffix == ".jsonl" else [raw]
        return b"\n".join(json.dumps(_without_times(_parsed(line)), sort_keys=True).encode() for line in lines)
    if path.suffix == ".pt":
        return _weights_of(path)
    return _MINUTES.sub(rb"", raw) if path.suffix == ".md" else raw


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return f"damaged: {line!r}"


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(inner) for key, inner in value.items() if key not in _VOLATILE}
    return [_without_times(inner) for inner in value] if isinstance(value, list) else value


def _weights_of(path: Path) -> bytes:
    """Of a checkpoint all but the time that it took."""
    try:
        state = torch.load(path, weights_only=True)
    except Exception as error:
        return f"damaged: {type(error).__name__}".encode()
    return repr(_described(state)).encode()


def _described(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {str(key): _described(inner) for key, inner in value.items() if key not in _VOLATILE}
    return [_described(inner) for inner in value] if isinstance(value, list | tuple) else value
