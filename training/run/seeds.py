"""Random numbers that depend on what they are for, not on what was drawn before.

A generator is seeded by the run's seed and the place where it is used (stage, epoch, step, rank). A run that is
resumed anywhere therefore draws what it would have drawn, and no generator's state has to be saved.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def seed_of(*place: int | str) -> int:
    """A 63-bit seed for a place in the run."""
    digest = hashlib.sha256(repr(place).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(device: torch.device | str, *place: int | str) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed_of(*place))


def rng(*place: int | str) -> np.random.Generator:
    return np.random.default_rng(seed_of(*place))


def permutation(length: int, *place: int | str) -> np.ndarray:
    return rng(*place).permutation(length)
