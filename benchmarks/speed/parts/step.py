"""A training step beside the plain layout, MONAI's and nnssl's U-Nets of the same arithmetic, and a matrix product."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sg_hub import SemanticGenesis3D
from training.run.layout import to_device

from ..measuring import Row, alternately, compared, threads


def run() -> list[Row]:
    rows = []
    with threads(1) as clock:
        product, other = torch.rand(1024, 1024), torch.rand(1024, 1024)
        peak = 2 * 1024**3 / statistics.median(alternately({"mm": lambda: product @ other}, clock, 9)["mm"]) / 1e9
        rows.append(Row("product of two matrices of 1024 x 1024, one core", peak, "GFLOP/s"))
        rows += _of_width(8, 8, (32, 32, 16), 5, clock, peak)
        rows += _of_width(32, 1, (64, 64, 32), 1, clock, peak)
    return rows


def _of_width(
    width: int, batch: int, size: tuple[int, int, int], rounds: int, clock: Callable[[], float], peak: float
) -> list[Row]:
    x = torch.rand(batch, 1, *size)
    flops = flops_of(ours(width), x)
    steps = {"ours": one_step(ours(width), x, True), "ours, plain layout": one_step(ours(width), x, False)}
    rivals = {"MONAI BasicUNet": _monai, "PlainConvUNet (nnssl, nnU-Net)": _plain_conv}
    counts = {}
    for name, make in rivals.items():
        network = _same_arithmetic(make, width, x, flops)
        counts[name] = flops_of(network, x)
        steps[name] = one_step(network, x, False)
    taken = alternately(steps, clock, rounds)
    for name, count in counts.items():  # what is left of a difference is taken out
        taken[name] = [seconds * flops / count for seconds in taken[name]]
    what = f"training step, width {width}, {batch} of {' x '.join(map(str, size))}, float32, one core"
    rows = compared(what, "s", taken, 1, "0.7 of the plain layout")
    rate = flops / statistics.median(taken["ours"]) / 1e9
    return [*rows, Row(f"its rate, width {width}", rate, "GFLOP/s", "product of matrices", peak, rate / peak)]


def ours(width: int) -> nn.Module:
    return SemanticGenesis3D(width=width, norm="batch", head="segmentation", num_classes=2)


def _monai(width: int) -> nn.Module:
    from monai.networks.nets import BasicUNet

    return BasicUNet(features=tuple(width * factor for factor in (1, 2, 4, 8, 16, 1)), norm="batch", act="relu")


def _plain_conv(width: int) -> nn.Module:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    return PlainConvUNet(
        1, 4, [width * factor for factor in (1, 2, 4, 8)], nn.Conv3d, 3, [1, 2, 2, 2], 2, 2, 2, True, nn.BatchNorm3d,
        nonlin=nn.ReLU, nonlin_kwargs={"inplace": True},
    )  # fmt: skip


def _same_arithmetic(make: Callable[[int], nn.Module], width: int, x: torch.Tensor, flops: int) -> nn.Module:
    """The network of that make whose arithmetic is nearest."""
    widths = [width, width + width // 4, width + width // 2, width + 3 * width // 4, 2 * width]
    return min((make(each) for each in widths), key=lambda network: abs(flops_of(network, x) - flops))


def flops_of(network: nn.Module, x: torch.Tensor) -> int:
    """Of a step, forward and backward, counted on small cubes; a multiplication and an addition are two."""
    small = torch.rand(2, 1, 16, 16, 16)
    with FlopCounterMode(display=False) as counter:
        network(small).sum().backward()
    network.zero_grad()
    return counter.get_total_flops() * x.numel() // small.numel()


def one_step(network: Any, x: torch.Tensor, last: bool) -> Callable[[], None]:
    if last:
        to_device(network, x.device, 3)
        x = x.contiguous(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(network.parameters())

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        network(x).square().mean().backward()
        optimizer.step()

    return step
