"""Random cubes, and where their voxels lie in the references."""

from __future__ import annotations

from torch import Tensor

from ...data.store import Store
from ...run.recipe import Discover, Size
from ..cubes import RandomCubes, to_network
from ..located import CELLS
from .alignments import Alignments


class PlacedCubes(RandomCubes):
    """Random cubes of a split, as RandomCubes draws them: ((C, *size) float32 in 0..1, (references, 4, cells...)).

    Args:
        alignments: of the same store.
    """

    def __init__(
        self,
        store: Store,
        alignments: Alignments,
        split: str,
        settings: Discover,
        size: Size,
        seed: int,
        epoch_length: int | None = None,
    ) -> None:
        super().__init__(store, split, settings, size, seed, epoch_length)
        self.alignments = alignments

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        patient, corner, cube = self._draw(index)
        cells = [-(-side // CELLS) for side in self.size]
        places = self.alignments.crop(patient, corner, self.settings.cube, cells)
        return to_network(cube, self.store.window, self.size), places
