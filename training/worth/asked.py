"""What is asked of one network, and the keys that its rows are found by, whatever the weights are called by then."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sg_hub.inference.matching import AROUND, CANDIDATES, NEAR

from ..statistics.patients import LANDMARKS, VOTED
from ..targets import Target
from ..targets.sections import Grid
from ..trials.task.initialisation import OF_THE_HEAD
from .data import on_grid_of
from .measures import classification, probes
from .measures import light_decoder as light
from .measures.landmarks import DRAWS, PATIENTS, VOTERS
from .networks import Contender
from .rows import Row

PROTOCOL = 1
"""Raised when a change of the code makes older rows incomparable."""
ZERO, FROZEN = "zero", "frozen"
POSITION = "same fraction of the scan"


@dataclass(frozen=True)
class Asked:
    """What is measured of one network without training it."""

    task: Target
    contender: Contender
    patients: int | None
    """Test patients that are looked at, at most."""

    @property
    def landmarks(self) -> dict[tuple[str, str], str]:
        """Keys of the landmarks, by measure and what of the network finds them."""
        found_by = {"around": AROUND, "near": NEAR, "candidates": CANDIDATES}
        return {
            (measure, what): self._key(ZERO, what, settings | found_by)
            for measure, settings in self._of_landmarks.items()
            for what in ("decoder", "encoder")
        }

    @property
    def position(self) -> dict[str, str]:
        """Keys of the baseline that needs no network, by measure."""
        found = self._of_landmarks.items()
        return {measure: self._key(ZERO, POSITION, settings, network=False) for measure, settings in found}

    @property
    def _of_landmarks(self) -> dict[str, dict[str, Any]]:
        settings = {"patients": self.patients or PATIENTS}
        return {LANDMARKS: settings, VOTED: settings | {"voters": VOTERS, "draws": DRAWS}}

    @property
    def probes(self) -> dict[str, str]:
        """Keys of the linear probes of encoder and decoder."""
        settings = {"patients": self.patients, "labelled": probes.LABELLED, "subsets": probes.SUBSETS}
        return {what: self._key(FROZEN, what, settings) for what in ("encoder", "decoder")}

    @property
    def light_decoder(self) -> str:
        """Key of the light decoder on the encoder."""
        settings = {"patients": self.patients, "labelled": probes.LABELLED, "subsets": probes.SUBSETS}
        trained = {name: getattr(light, name) for name in ("CHANNELS", "STEPS", "RATE", "BACKGROUND_WEIGHT")}
        return self._key(FROZEN, "light decoder", settings | trained)

    @property
    def classified(self) -> dict[str, str]:
        """Keys of a classification, by how it is done."""
        of_all = {"patients": self.patients, "values": "of items"}
        few = {name: getattr(classification, name) for name in ("FRACTION", "SUBSETS", "STRENGTHS")}
        settings = {classification.NEAREST: of_all, classification.LINEAR: of_all | few}
        return {what: self._key(FROZEN, what, more) for what, more in settings.items()}

    def of_network(self, parts: Sequence[str]) -> list[str]:
        """Keys of all that is measured of the network itself."""
        if self.task.head == "classification":
            return [*self.classified.values()]
        found = list(self.landmarks.values()) if ZERO in parts else []
        return found + ([*self.probes.values(), self.light_decoder] if FROZEN in parts else [])

    def maps(self, data: str) -> str:
        """What feature maps depend on: a calibrated network has seen the data, too."""
        return self._key("maps", data, {"patch": self.on_its_grid.patch})

    @property
    def on_its_grid(self) -> Target:
        """The target as the network is given it."""
        return on_grid_of(self.task, self.contender)

    def _key(self, part: str, what: str, settings: dict[str, Any], network: bool = True) -> str:
        described = self.on_its_grid.model_dump(
            mode="json", exclude={"root", "title", "description", "code", "settings"}
        )
        patch = self.on_its_grid.settings.patch  # else it is of the grid's size
        if network and self.contender.is_calibrated and patch:
            settings = settings | {"calibrated on": patch}
        text = json.dumps([PROTOCOL, part, what, settings, described, self.contender.key if network else ""])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def of_these(rows: Iterable[Row], asked: Iterable[Asked], parts: Sequence[str]) -> list[Row]:
    """The rows of what is asked for, in their order, under the names that the weights are given by now: those of other
    settings, or of what the weights were before they were trained further, are not of it."""
    names: dict[str, dict[str, None]] = {}
    for one in asked:
        for key in one.of_network(parts):
            names.setdefault(key, {})[one.contender.start.init] = None
        if ZERO in parts and one.task.head != "classification":
            names |= {key: {POSITION: None} for key in one.position.values()}
    return [replace(row, weights=name) for row in rows for name in names.get(row.key.partition("-")[0], ())]


def fresh_of(one: Asked, asked: Iterable[Asked]) -> list[Asked]:
    """The random networks of the same architecture, but for the head, that are given the same."""
    return [other for other in asked if other.contender.is_random and _body(other) == _body(one)]


def _body(one: Asked) -> tuple[type[Any], dict[str, Any], Grid, tuple[int, ...]]:
    """What feature maps come from, and how it is given the items: on the weights' own grid, or on the target's."""
    start, target = one.contender.start, one.on_its_grid
    other = (*OF_THE_HEAD, "provenance", "preprocessing")
    norm = {"norm": "batch"} if start.config.get("norm") == "batch_stats" else {}  # as it is measured
    body = {key: value for key, value in start.config.items() if key not in other} | norm
    return start.family, body, target.grid, target.patch
