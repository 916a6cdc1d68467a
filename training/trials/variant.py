"""Settings that an initialisation may have of its own: a small named set, the same for every one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..targets import Target

FACTORS = (1.0, 0.3, 0.1)
"""Of the learning rate."""
HEAD_FIRST = (0.0, 0.3)
"""Share of the steps in which the encoder is frozen."""
SHORT = 1 / 3
"""Of the steps: where training for longer takes back what was gained, this is found to be better."""


@dataclass(frozen=True)
class Variant:
    """One of the set."""

    lr_factor: float = 1.0
    head_first: float = 0.0
    share: float = 1.0
    """Of the steps: the learning rate falls to 0 at the end of this share, and what is reached there counts."""

    def __str__(self) -> str:
        steps = {1: "all steps", SHORT: "a third of the steps"}.get(self.share, f"{self.share:.0%} of the steps")
        return f"{'head first' if self.head_first else 'plain'}, rate x {self.lr_factor:g}, {steps}"

    def settings(self, of: Mapping[str, Any]) -> dict[str, Any]:
        """What it makes of a target's settings."""
        steps = max(1, math.ceil(self.share * of["steps"] - 1e-9))
        return {
            "steps": steps,
            "validate_every": min(of["validate_every"], steps),
            "lr_factor": of.get("lr_factor", 1.0) * self.lr_factor,
            "head_first": self.head_first,
            "keep": "last",
        }

    def target(self, target: Target) -> Target:
        """The target with these settings."""
        changed = self.settings(target.settings.model_dump())
        return target.model_copy(update={"settings": target.settings.model_copy(update=changed)})

    def overrides(self, of: Mapping[str, Any]) -> list[str]:
        """The same for a command line: what `finetune` is given.

        Args:
            of: the target's settings.
        """
        said = {key: value for key, value in self.settings(of).items() if value != of.get(key)}
        return [f"settings.{key}={f'{value:g}' if isinstance(value, float) else value}" for key, value in said.items()]

    def record(self) -> dict[str, float]:
        return asdict(self)


VARIANTS = tuple(Variant(factor, head) for head in HEAD_FIRST for factor in FACTORS)
