"""Where networks run: the device that a command's `--device` means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sg_hub.errors import InvalidInputError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def there() -> list[str]:
    """Kinds of devices of this machine, the CPU last."""
    import torch

    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [kind for kind, is_there in found.items() if is_there]


def device_of(name: str) -> torch.device:
    """Of `auto` the first GPU there is, or the CPU.

    Raises:
        InvalidInputError: not on this machine.
    """
    import torch

    found = there()
    if name == "auto":
        name = found[0]
    if name not in found:
        raise InvalidInputError(f"--device {name}: torch finds no such device here; leave it out, or give --device cpu")
    return torch.device(name)
