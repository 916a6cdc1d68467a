"""Time per cube of each transformation, beside its definition in numpy and scipy (`reference.py`).

python -m benchmarks.transforms [--batch 16] [--size 64 64 32] [--threads 1] [--device cpu]
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from training import transforms
from training.transforms import reference


def machine(device: torch.device) -> str:
    """The processor or the GPU, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {torch.backends.cpu.get_cpu_capability()}"


def per_cube(run: Callable[[], object], cubes: int, repeats: int, device: torch.device) -> tuple[float, float]:
    """Least and median milliseconds per cube over the repeats, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append((time.perf_counter() - start) * 1000 / cubes)
    return min(times[1:]), float(np.median(times[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, default=16, help="cubes in a batch")
    parser.add_argument("--size", type=int, nargs="+", default=[64, 64, 32], help="sides, two or three")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    generator = torch.Generator(device).manual_seed(0)
    rng = np.random.default_rng(0)
    batch = torch.rand(arguments.batch, 1, *arguments.size, generator=generator, device=device)
    cube = rng.random(arguments.size, dtype=np.float32)

    sides = " x ".join(map(str, arguments.size))
    print(f"{arguments.batch} cubes of {sides}, {arguments.threads} thread(s), torch {torch.__version__}")
    print(f"{machine(device)}\n")
    print(f"{'ms per cube':24}{'least':>9}{'median':>9}{'definition':>12}{'ratio':>8}")
    rows: list[tuple[str, Callable[[], object], Callable[[], object], int]] = [
        (
            name,
            _bind(getattr(transforms, name), batch, generator),
            _bind(getattr(reference, name), cube, rng),
            1,
        )
        for name in ("elastic", *transforms.CHOICES)
    ]
    rows.append(
        (
            "local_shuffle, 10000",
            lambda: transforms.local_shuffle(batch, generator, windows=10_000),
            lambda: reference.local_shuffle(cube, rng, 10_000),
            5,
        )
    )
    both = _bind(transforms.semantic_genesis, batch, generator)
    rows.append(("semantic_genesis", both, _bind(reference.semantic_genesis, cube, rng), 1))
    for name, ours, theirs, share in rows:
        repeats = max(3, arguments.repeats // share)
        least, median = per_cube(ours, arguments.batch, repeats, device)
        literal = per_cube(theirs, 1, repeats, torch.device("cpu"))[1]
        print(f"{name:24}{least:9.3f}{median:9.3f}{literal:12.2f}{literal / median:8.1f}", flush=True)
    least, median = per_cube(_bind(transforms.models_genesis, batch, generator), arguments.batch, 3, device)
    print(f"{'models_genesis':24}{least:9.3f}{median:9.3f}")


def _bind(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


if __name__ == "__main__":
    main()
