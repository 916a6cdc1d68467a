"""Cubes per second of a pre-training step: forward, backward and optimiser, with the transformations.

    python -m benchmarks.pretraining_step --width 8 --size 32 32 16 --batch 32

Prints bfloat16 beside float32 and the channels-last layout beside the default one, on the same machine.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F

from sg_hub import SemanticGenesis3D
from training.run.folder.environment import machine
from training.run.precision import autocast
from training.transforms import semantic_genesis


def cubes_per_second(
    device: str, width: int, size: tuple[int, int, int], batch: int, bfloat16: bool, channels_last: bool, steps: int
) -> float:
    torch.manual_seed(0)
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    model = SemanticGenesis3D(width=width, norm="batch").to(device)
    model.to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters())
    noise = torch.Generator(device).manual_seed(0)
    cubes = torch.rand(batch, 1, *size, device=device)
    labels = torch.zeros(batch, dtype=torch.long, device=device)

    def step() -> None:
        corrupted, target = semantic_genesis(cubes, noise)
        with autocast(torch.device(device), "bfloat16" if bfloat16 else "float32", size, model.encoder.strides[-1]):
            restoration, logits = model(corrupted.contiguous(memory_format=layout))
        loss = F.mse_loss(restoration.float(), target) + 0.01 * F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    for _ in range(2):
        step()
    _wait(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(device)
    return steps * batch / (time.perf_counter() - started)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=3, default=(32, 32, 16))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    print(
        f"{machine()}, {torch.get_num_threads()} threads: width {options.width}, "
        f"{options.batch} cubes of {tuple(options.size)}"
    )
    baseline = None
    for bfloat16, channels_last in ((False, False), (False, True), (True, False), (True, True)):
        rate = cubes_per_second(
            options.device, options.width, tuple(options.size), options.batch, bfloat16, channels_last, options.steps
        )
        baseline = baseline or rate
        name = f"{'bfloat16' if bfloat16 else 'float32 '} {'channels-last' if channels_last else 'default layout'}"
        print(f"{name:26} {rate:8.1f} cubes/s   {rate / baseline:5.2f} x", flush=True)


if __name__ == "__main__":
    main()
