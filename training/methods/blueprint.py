"""The model of sg_hub that a recipe describes, for whatever head a method needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sg_hub import ImagePreprocessing, Preprocessing, SemanticGenesis2D, SemanticGenesis3D
from sg_hub.models import PretrainedModel

from ..data.provenance import provenance
from ..data.store import Store
from ..discovery.regions.references import References
from ..run.folder.record import recorded
from ..run.recipe import Recipe


@dataclass(frozen=True)
class Blueprint:
    """What a network is made from."""

    recipe: Recipe
    store: Store
    patterns: int | None = None
    """Discovered patterns, where the method needs them."""
    regions: References | None = None
    """Of the discovered dense patterns, where the method needs them."""
    semantics: bool = False
    """Whether the model gets the branch that classifies them, whatever head is asked for."""

    @property
    def ndim(self) -> int:
        return self.recipe.model.ndim

    @property
    def in_chans(self) -> int:
        return self.store.patients[0].channels

    def model(self, head: str, num_classes: int | None = None) -> PretrainedModel:
        """A model as the recipe has it, initialised by its seed, that knows what it expects and where it comes from.

        Args:
            head: of sg_hub.SemanticGenesis3D or 2D. With semantics it is `pretext`, which holds the encoder, the
                decoder, the restoration and the classification of the patterns.
            num_classes: of the head, where it has classes.
        """
        if self.semantics:
            head, num_classes = "pretext", self.patterns
        torch.manual_seed(self.recipe.seed)
        shared: dict[str, Any] = {
            "in_chans": self.in_chans,
            "head": head,
            "provenance": provenance(self.recipe, self.store, self._learnt_from()),
        }
        if num_classes is not None:
            shared["num_classes"] = num_classes
        recipe, model = self.recipe, self.recipe.model
        if model.ndim == 2:
            images = ImagePreprocessing(modality=recipe.publish.modality, input_size=self.store.settings["size"])
            return SemanticGenesis2D(
                encoder=model.encoder, decoder_width=model.decoder_width, preprocessing=images, **shared
            )
        x, y, z = recipe.pretrain.size
        scans = Preprocessing(
            modality=recipe.publish.modality,
            intensity="window",
            low=self.store.window[0],
            high=self.store.window[1],
            spacing=self.store.settings["spacing"],
            input_size=(x, y, z),
        )
        return SemanticGenesis3D(width=model.width, norm=model.norm, preprocessing=scans, **shared)

    def _learnt_from(self) -> list[dict[str, Any]]:
        """What other weights say of whom they have seen: those that found the patterns, where coordinates did not."""
        discovered = self.patterns is not None or self.regions is not None
        found_by = recorded(self.recipe, "discover").get("found_by") if discovered else None
        return [found_by] if found_by is not None else []
