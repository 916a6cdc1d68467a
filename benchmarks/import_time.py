"""How long `import sg_hub` with all its public names takes beside `import torch`, and `from_pretrained` after it.

    python benchmarks/import_time.py [--model NAME] [--rounds N]

The goals: a ratio of at most 1.3, and less than 0.2 s. Each measurement is a fresh process; the two imports
take turns, so that a machine that is busy for a while slows both. The ratio is the median over the pairs.
Without --model it is the tiny registered model, or, where there is none, an untrained one of its size.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TINY = "semantic-genesis-3d-tiny"
# A process reports its wall and its processor time: the second says more on a busy machine.
CLOCK = "import time; start = time.perf_counter(), time.process_time()"
REPORT = "print(time.perf_counter() - start[0], time.process_time() - start[1])"


def seconds(before: str, timed: str, *arguments: str) -> tuple[float, float]:
    """Wall and processor seconds of a statement in a fresh process, after another."""
    code = "\n".join([before, CLOCK, timed, REPORT])
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    wall, processor = (float(value) for value in result.stdout.split())
    return wall, processor


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of the import and of from_pretrained.")
    parser.add_argument("--model", help=f"registered name or folder (default: {TINY})")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of processes (default: 7)")
    options = parser.parse_args()
    seconds("", "import torch, sg_hub")  # files into the cache, bytecode onto the disk
    pairs = [(seconds("", "import torch"), seconds("", "from sg_hub import *")) for _ in range(options.rounds)]
    for clock, name in enumerate(("wall", "processor")):
        torch, ours = (statistics.median(pair[which][clock] for pair in pairs) for which in (0, 1))
        ratio = statistics.median(ours[clock] / torch[clock] for torch, ours in pairs)
        print(f"{name:9} import torch {torch:.3f} s, sg_hub {ours:.3f} s, ratio {ratio:.2f} (goal 1.3)")
    with tempfile.TemporaryDirectory() as folder:
        name = options.model or stand_in(folder)
        load = "sg_hub.from_pretrained(sys.argv[1])"
        times = [seconds("import sys, sg_hub; from sg_hub import *", load, name) for _ in range(options.rounds)]
    first, spent = (statistics.median(time[clock] for time in times) for clock in (0, 1))
    print(f"from_pretrained({name!r}) {first:.3f} s wall, {spent:.3f} s processor (goal 0.2)")


def stand_in(folder: str) -> str:
    """The tiny model's name where it is installed, else a folder with an untrained network of its size."""
    sys.path.insert(0, str(ROOT))
    import sg_hub

    if TINY in sg_hub.list_models():
        return TINY
    sg_hub.SemanticGenesis3D(width=8).save_pretrained(folder, half=True)
    return folder


if __name__ == "__main__":
    main()
