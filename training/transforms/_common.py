"""What every transformation shares: the check of its input, and the small random draws.

No step of training waits for its device here: values of a batch are looked at on the CPU alone, and draws that decide
what is done (which cubes, where) are made on the CPU, whatever device the batch is on.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sg_hub.errors import InvalidInputError
from sg_hub.given import real, whole

SLACK = 0.05
"""How far outside 0..1 a value may lie (resampling overshoots a little) before the batch is refused."""
NOISE_AT_ONCE = 1 << 16
"""Values of noise that a CPU makes at a time: they stay in a core's cache."""


def check_batch(batch: Tensor, generator: torch.Generator) -> None:
    """Refuse whatever is not a batch of cubes or images in 0..1 with a generator on its device.

    Values are looked at where the batch is on the CPU: a GPU would have to be waited for.

    Raises:
        InvalidInputError: saying what was given and what is expected.
    """
    if not isinstance(batch, Tensor):
        raise InvalidInputError(f"expected a batch as torch.Tensor, got {type(batch).__name__}")
    if batch.ndim not in (4, 5) or 0 in batch.shape:
        raise InvalidInputError(
            f"expected a batch of shape (N, C, H, W) or (N, C, X, Y, Z) with nothing empty, "
            f"got shape {tuple(batch.shape)}; a single cube becomes a batch with cube[None]"
        )
    if not batch.is_floating_point():
        raise InvalidInputError(
            f"expected a batch of a floating dtype with values in 0..1, got {batch.dtype}; scale it first"
        )
    if not isinstance(generator, torch.Generator):
        raise InvalidInputError(f"expected a torch.Generator, got {type(generator).__name__}")
    if not _same_device(generator.device, batch.device):
        raise InvalidInputError(
            f"the generator is on {generator.device} and the batch on {batch.device}; "
            f"make it with torch.Generator(device={str(batch.device)!r})"
        )
    if batch.device.type != "cpu":
        return
    low, high = (float(v) for v in torch.aminmax(batch.detach()))
    if not (low >= -SLACK and high <= 1 + SLACK):  # written so that NaN fails too
        raise InvalidInputError(
            f"expected finite values in 0..1, got values from {low:g} to {high:g}; "
            "scale the intensity window to 0..1 first"
        )


def check_probability(name: str, value: float) -> float:
    found = real(value)
    if found is None or not 0 <= found <= 1:
        raise InvalidInputError(f"{name} is a probability in 0..1, got {value}")
    return found


def check_count(name: str, value: int) -> int:
    found = whole(value)
    if found is None or found < 0:
        raise InvalidInputError(f"{name} is a whole number of at least 0, got {value!r}")
    return found


def _same_device(a: torch.device, b: torch.device) -> bool:
    # A generator made for "cuda" names no index until it is used: then the type has to do.
    return a.type == b.type and (a.index is None or b.index is None or a.index == b.index)


def parts(batch: Tensor, voxels: int = 1 << 17) -> list[slice]:
    """The batch in parts that are handled together.

    On one core about `voxels` in each (several small cubes, one large one), so that what is made on the way
    stays in its cache. Several threads get eight times as much: they wait for each other after every
    call, for long where the cores are shared. A GPU takes the whole batch.
    """
    if batch.device.type == "cpu":
        size = max(1, voxels * (1 if torch.get_num_threads() == 1 else 8) // batch[0].numel())
    else:
        size = len(batch)
    return [slice(start, start + size) for start in range(0, len(batch), size)]


def host(generator: torch.Generator) -> torch.Generator:
    """The generator of the draws that are read: on the CPU, the generator itself if that is there.

    Otherwise its seed is the other's state, which torch keeps in the memory of the CPU; and that one moves on, so that
    the next call draws something else.
    """
    if generator.device.type == "cpu":
        return generator
    digest = hashlib.sha256(generator.get_state().numpy().tobytes()).digest()
    torch.empty(1, device=generator.device).uniform_(generator=generator)
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the batch's device, without waiting for either."""
    if device.type == "cpu":
        return tensor
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def bit_generator(generator: torch.Generator) -> np.random.SFC64:
    """A stream of random bits for a CPU, seeded by the next draw: twice as fast as torch's own."""
    return np.random.SFC64(int(torch.empty((), dtype=torch.int64).random_(generator=generator)))


def uniform_noise(shape: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform noise in 0..1 in steps of 2^-16 between 2^-17 and 1 - 2^-17, of `like`'s dtype and device.

    Four values are cut from 64 random bits: far finer than the grey levels of any scan.
    """
    count = math.prod(shape)
    if like.device.type == "cpu":
        bits, values = bit_generator(generator), np.empty(count, np.float32)
        for start in range(0, count, NOISE_AT_ONCE):
            part = values[start : start + NOISE_AT_ONCE]
            drawn = bits.random_raw((len(part) + 3) // 4).view(np.uint16)[: len(part)]
            np.multiply(drawn, np.float32(2.0**-16), out=part, dtype=np.float32)
            part += np.float32(2.0**-17)
        noise = torch.from_numpy(values)
    else:
        draws = torch.empty((count + 3) // 4, dtype=torch.int64, device=like.device)
        draws.random_(-(2**63), None, generator=generator)
        noise = draws.view(torch.int16)[:count].float().mul_(2.0**-16).add_(0.5 + 2.0**-17)
    return noise.to(like.dtype).view(*shape)


def random_integers(low: Tensor, high: Tensor, generator: torch.Generator) -> Tensor:
    """One whole number from low..high, both included, for each element of two int64 tensors of one shape."""
    span = high - low + 1
    draw = torch.rand(low.shape, generator=generator, device=low.device)
    return low + torch.minimum((draw * span).long(), span - 1)  # the product may round up to span


def happens(count: int, probability: float, draws: torch.Generator) -> list[bool]:
    """For each of `count` cubes, whether an event of this probability happens."""
    return (torch.rand(count, generator=draws) < probability).tolist()
