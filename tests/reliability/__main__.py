"""Reliability, the whole of it: `python -m tests.reliability fuzz --inputs 1000`. Exits with 1 where one is wrong."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys

from tests import reliability
from tests.reliability.harness import CLASSES, Counts, run


def fuzz_kinds() -> dict[str, str]:
    """Kind of input to the module (`fuzz_...`) that makes it."""
    found = {}
    for module in pkgutil.iter_modules(reliability.__path__):
        if module.name.startswith("fuzz_"):
            name = f"{reliability.__name__}.{module.name}"
            found |= dict.fromkeys(importlib.import_module(name).PARSERS, name)
    return found


def fuzz(kind: str, count: int, seed: int, workers: int) -> Counts:
    """Counts of damaged inputs of one kind."""
    module = importlib.import_module(fuzz_kinds()[kind])
    return run(module.PARSERS[kind], module.inputs(kind, count, seed), workers=workers)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fuzzing = commands.add_parser("fuzz", help="damaged inputs for every parser")
    fuzzing.add_argument("kinds", nargs="*", help="absent: all")
    fuzzing.add_argument("--inputs", type=int, default=500, help="of each kind (%(default)s)")
    fuzzing.add_argument("--seed", type=int, default=0)
    fuzzing.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    kinds = options.kinds or sorted(fuzz_kinds())
    wrong = 0
    print(f"{'kind':18}" + "".join(f"{kind:>9}" for kind in CLASSES))
    for kind in kinds:
        counts = fuzz(kind, options.inputs, options.seed, options.workers)
        print(f"{kind:18}" + "".join(f"{counts.classes[name]:9}" for name in CLASSES), flush=True)
        for name, examples in counts.examples.items():
            for example in examples:
                print(f"  {name}: {example}")
        wrong += counts.bad
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
