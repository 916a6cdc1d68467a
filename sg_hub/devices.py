"""Where networks run: the device that a command's `--device` means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sg_hub.errors import InvalidInputError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def device_of(name: str) -> torch.device:
    """Of `auto` the first GPU there is, or the CPU.

    Raises:
        InvalidInputError: not on this machine.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, found in there.items() if found)
    if not there[name]:
        raise InvalidInputError(f"--device {name}: torch finds no such device here; leave it out, or give --device cpu")
    return torch.device(name)
