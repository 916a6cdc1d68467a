"""The transformations of Semantic Genesis and Models Genesis, on batches, in 2D and 3D.

Each is `f(batch, generator, **options)`: (N, C, H, W) or (N, C, X, Y, Z) in 0..1 in, a new tensor of the
same shape and dtype out, on the batch's device. Every cube gets its own random draws, all from the
generator: the same seed gives the same result. The defaults are the published settings.

    generator = torch.Generator().manual_seed(0)
    corrupted, target = semantic_genesis(batch, generator)
"""

from .compose import CHOICES, models_genesis, semantic_genesis
from .elastic import elastic
from .intensity import nonlinear
from .painting import in_paint, out_paint
from .shuffle import local_shuffle

__all__ = [
    "CHOICES",
    "elastic",
    "in_paint",
    "local_shuffle",
    "models_genesis",
    "nonlinear",
    "out_paint",
    "semantic_genesis",
]
