"""The process that `harness.run` gives inputs: one after the other on standard input, an answer for each on standard
output."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import resource
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from sg_hub.errors import SgHubError


def main() -> None:
    module, _, name = sys.argv[1].partition(":")
    memory, letters = int(sys.argv[2]), int(sys.argv[3])
    parse = getattr(importlib.import_module(module), name)
    answers, sys.stdout = sys.stdout, sys.stderr
    base, size = _status("VmRSS"), _status("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (size + 3 * memory, resource.RLIM_INFINITY))
    number = 0
    while True:
        try:
            files, target = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        number += 1
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        kind, what = _judge(parse, files, target, Path(f"input-{number}"), letters)
        print(json.dumps([kind, what, max(0, _status("VmHWM") - base)]), file=answers, flush=True)


def _judge(
    parse: Callable[[Path], object], files: Mapping[str, bytes], target: str, folder: Path, letters: int
) -> tuple[str, str]:
    folder.mkdir()
    for name, data in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    try:
        parse((folder / target).absolute())
        kind, what = "ok", ""
    except SgHubError as error:
        what = str(error)
        named = any(str(part) in what for part in (folder, *map(Path, files)))
        kind = ("clear" if len(what) <= letters else "long") if named else "unnamed"
    except BaseException as error:
        kind, what = "raw", "".join(traceback.format_exception(error))[-1500:]
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - set(files)
    if left or os.listdir() != [folder.name]:
        kind, what = "outside", f"{sorted(left)} {os.listdir()}"
    for entry in os.listdir():
        shutil.rmtree(entry, ignore_errors=True)
    return kind, what[:2000]


def _status(key: str) -> int:
    """Bytes of a line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
