"""Frozen: what a light decoder makes of the encoder's feature maps, trained on the scans of a few patients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from sg_hub.inference.feature_maps import FeatureMaps

from ...run.seeds import rng, seed_of
from ...targets import Item
from ...trials.training import dice_cross_entropy
from ..data import Data, Maps
from . import probes
from .probes import draws, finer, tested

CHANNELS = 16
STEPS = 120
"""A whole scan each."""
RATE = 1e-2
"""Of Adam at the first step; it falls to 0 by a cosine."""
BACKGROUND_WEIGHT = 0.1
"""In the cross-entropy, beside which there is the Dice loss, both of voxels."""
_DEAD = 1e-3
"""Of a level's median deviation: a channel that varies less on the labelled scans is left out."""


class LightDecoder(nn.Module):
    """Logits on the smallest cells: every level is standardised, narrowed, brought there and added; one convolution of
    3 x 3 x 3 mixes what lies side by side."""

    def __init__(self, scans: Sequence[FeatureMaps], classes: int) -> None:
        """scans: that the statistics of the levels are of."""
        super().__init__()
        flat = [[maps.levels[i].float().flatten(1) for maps in scans] for i in range(len(scans[0].levels))]
        self.means = [torch.cat(level, 1).mean(1).view(-1, 1, 1, 1) for level in flat]
        self.deviations = [_alive(torch.cat(level, 1).std(1)).view(-1, 1, 1, 1) for level in flat]
        self.narrow = nn.ModuleList(nn.Conv3d(len(mean), CHANNELS, 1) for mean in self.means)
        self.mix = nn.Conv3d(CHANNELS, CHANNELS, 3, padding=1)
        self.last = nn.Conv3d(CHANNELS, classes, 1)

    def forward(self, maps: FeatureMaps) -> Tensor:
        """(classes, cells...)."""
        fine, cells = maps.strides[maps.finest], maps.levels[maps.finest].shape[1:]
        total: Tensor | float = 0.0
        for narrow, level, stride, mean, deviation in zip(
            self.narrow, maps.levels, maps.strides, self.means, self.deviations, strict=True
        ):
            x = narrow((level.float() - mean) / deviation)
            total = total + finer(x, [a // b for a, b in zip(stride, fine, strict=True)], cells)
        assert isinstance(total, Tensor)
        found: Tensor = self.last(F.relu(self.mix(F.relu(total)[None])))[0]
        return found

    def voxels(self, maps: FeatureMaps, size: Sequence[int]) -> Tensor:
        """(classes, *size): the logits between the cells."""
        return finer(self(maps), maps.strides[maps.finest], size)


def _alive(deviation: Tensor) -> Tensor:
    """What a channel is divided by: one that hardly varies says nothing, and would say much where it does."""
    return torch.where(deviation <= _DEAD * deviation.median(), math.inf, deviation + 1e-6)


def light_decoder(
    data: Data, maps: Maps, names: Sequence[str], test: Sequence[Item], title: str, progress: bool
) -> dict[str, np.ndarray]:
    """A light decoder for each draw of labelled patients; tested on whole scans, on the weights' grid.

    Returns:
        as `tested` does.
    """
    subsets = draws(data, probes.LABELLED, probes.SUBSETS)
    decoders = [
        train(data, maps, names, subset, number)
        for number, subset in enumerate(
            tqdm(subsets, f"{title}: training", unit="draw", disable=not progress, leave=False)
        )
    ]

    @torch.inference_mode()
    def segment(item: Item, size: Sequence[int]) -> Iterator[np.ndarray]:
        found = maps[item].only(names)
        for decoder in decoders:
            yield decoder.voxels(found, size).argmax(0).to(torch.uint8).numpy()

    return tested(data, test, len(decoders), segment, title, progress)


def train(data: Data, maps: Maps, names: Sequence[str], items: Sequence[Item], draw: int) -> LightDecoder:
    """A decoder of these labelled items; the feature maps are as they are."""
    classes = data.target.num_classes
    scans = [maps[item].only(names) for item in items]
    labels = [data.arrays[item][1] for item in items]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("worth", "decoder", draw))
        decoder = LightDecoder(scans, classes)
    optimiser = torch.optim.Adam(decoder.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    noise = rng("worth", "decoder", draw)
    rounds = (noise.permutation(len(scans)) for _ in itertools.count())
    for number in itertools.islice(itertools.chain.from_iterable(rounds), STEPS):
        logits = decoder.voxels(scans[number], labels[number].shape)
        loss = dice_cross_entropy(logits[None], labels[number][None].long(), BACKGROUND_WEIGHT)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return decoder
