"""Random cubes for the tests of the transformations."""

import torch


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cubes(*shape: int, seed: int = 7) -> torch.Tensor:
    return torch.rand(*shape, generator=seeded(seed))
