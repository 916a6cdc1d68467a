"""Reliability, the whole of it or parts: `python -m tests.reliability fuzz kills faults`. Exits with 1 where one fails.

Every input and every kill is told by its name, its seed and its number, so that one can be made again:
`python -m tests.reliability fuzz --only "nifti" --seed 0 --first 17 --count 1`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tests.reliability import commands, faults, harness, kills, processes
from tests.reliability.counts import Counts, table
from tests.reliability.fuzz import data, io, models, releases, results, targets

KINDS = io.KINDS | models.KINDS | releases.KINDS | data.KINDS | targets.KINDS | results.KINDS
Done = Callable[[], object]


def fuzz(options: argparse.Namespace, done: Callable[[str, int], Done]) -> dict[str, Counts]:
    """Damaged inputs for every parser."""
    found = {}
    for name, kind in KINDS.items():
        if options.only and name not in options.only:
            continue
        count = max(1, round(options.count * kind.weight))
        inputs = kind.inputs(name, count, options.seed, options.first)
        found[name] = harness.run(kind, inputs, options.workers, done(name, count), options.show)
        tqdm.write(f"{name}: {found[name]}", file=sys.stderr)
    return found


def kill(options: argparse.Namespace, done: Callable[[str, int], Done]) -> dict[str, Counts]:
    """Kills of every long command, and what the next run makes of it."""
    chosen = [name for name in commands.LONG if not options.only or name in options.only]
    found = {}
    for name in chosen:
        bar = done(name, options.count)
        found[name] = kills.kills(name, options.count, options.seed, options.first, bar, options.show)
        tqdm.write(f"{name}: {found[name]}", file=sys.stderr)
    return found


def meet(options: argparse.Namespace, done: Callable[[str, int], Done]) -> dict[str, Counts]:
    """Faults that commands meet."""
    found = {}
    mounts = faults.can_mount(processes.own_folder())
    for kind, every in faults.FAULTS.items():
        names = [name for name in every if not options.only or {kind, name} & set(options.only)]
        if kind in faults.MOUNTED and not mounts:
            print(f"{kind}: left out, for this machine lets no process mount file systems of its own", file=sys.stderr)
        elif names:
            bar = done(kind, options.count * len(names))
            found[kind] = faults.faults(kind, names, options.count, options.seed, options.first, bar, options.show)
            tqdm.write(f"{kind}: {found[kind]}", file=sys.stderr)
    return found


PARTS: dict[str, tuple[Callable[..., dict[str, Counts]], str, tuple[str, ...], int]] = {
    "fuzz": (fuzz, "parser", harness.CLASSES, 695),
    "kills": (kill, "command", kills.CLASSES, 28),
    "faults": (meet, "fault", faults.CLASSES, 3),
}
"""What runs each part, what its rows are, the classes, and how many of each row there are by default."""
_ELSEWHERE = {"OpenKBP", "LUNA16", "ChestX-ray14", "SIIM-ACR", "LIDC-IDRI", "LIDC patches"}
_ELSEWHERE |= {"figures", "card records", "run records", "kept items"}
"""What takes longest to be made, and has tests of its own."""
SHARE: dict[str, tuple[int, tuple[str, ...]]] = {
    "fuzz": (4, tuple(name for name in KINDS if name not in _ELSEWHERE)),
    "kills": (1, ("prepare", "save_pretrained", "finetune", "segment")),
    "faults": (1, ("prepare", "save_pretrained", "autoencode")),
}
"""What of each part `make test` runs: how many of each row, and which."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="absent: all")
    parser.add_argument("--only", nargs="+", help="names of rows; of faults also of commands")
    parser.add_argument("--count", type=int, help="of each row; of some a share of it")
    parser.add_argument("--share", action="store_true", help="the small share that the tests run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first, to go on from")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time, where that matters")
    parser.add_argument("--show", action="store_true", help="print what came of each")
    parser.add_argument("--json", type=Path, help="file for the counts")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", module="pydicom")  # of the damage that is done on purpose
    given, bad, written = options.count, 0, dict[str, Any]()
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        processes.prepare_process(Path(folder))
        for part in options.parts or PARTS:
            run, what, classes, count = PARTS[part]
            if options.share:
                options.workers, (count, options.only) = 1, SHARE[part]
            options.count, began = given or count, time.monotonic()
            with tqdm(total=0, desc=part, disable=None) as bar:

                def done(name: str, more: int, bar: Any = bar, part: str = part) -> Done:
                    bar.total += more
                    bar.set_description(f"{part}: {name}")
                    return lambda: bar.update()

                rows = run(options, done)
            print(f"\n{table(what, classes, rows)}\n\n{part}: {time.monotonic() - began:.0f} s, seed {options.seed}")
            for name, counts in rows.items():
                for kind, examples in counts.examples.items():
                    print(*(f"{name}, {kind}: {example}" for example in examples), sep="\n")
            bad += sum(counts.bad for counts in rows.values())
            written[part] = {name: counts.as_json() for name, counts in rows.items()}
            sys.stdout.flush()
        if options.json:
            options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
