"""What is asked of one network, and the keys that its rows are found by, whatever the weights are called by then."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..targets import Target
from . import probes
from .data import on_grid_of
from .landmarks import PATIENTS
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
    def landmarks(self) -> dict[str, str]:
        """Keys of the landmarks by encoder and decoder."""
        return {what: self._key(ZERO, what, {"patients": self.patients or PATIENTS}) for what in ("decoder", "encoder")}

    @property
    def position(self) -> str:
        """Key of the baseline that needs no network."""
        return self._key(ZERO, POSITION, {"patients": self.patients or PATIENTS}, network=False)

    @property
    def probes(self) -> dict[str, str]:
        """Keys of the linear probes of encoder and decoder."""
        settings = {"patients": self.patients, "labelled": probes.LABELLED, "subsets": probes.SUBSETS}
        return {what: self._key(FROZEN, what, settings) for what in ("encoder", "decoder")}

    @property
    def neighbours(self) -> str:
        """Key of the nearest neighbours."""
        return self._key(FROZEN, "neighbours", {"patients": self.patients, "count": probes.NEIGHBOURS})

    def of_network(self, parts: Sequence[str]) -> list[str]:
        """Keys of all that is measured of the network itself."""
        if self.task.head == "classification":
            return [self.neighbours]
        found = list(self.landmarks.values()) if ZERO in parts else []
        return found + (list(self.probes.values()) if FROZEN in parts else [])

    def maps(self, data: str) -> str:
        """What feature maps depend on: a calibrated network has seen the data, too."""
        return self._key("maps", data, {"patch": self._target.patch})

    @property
    def _target(self) -> Target:
        return on_grid_of(self.task, self.contender)

    def _key(self, part: str, what: str, settings: dict[str, Any], network: bool = True) -> str:
        described = self._target.model_dump(mode="json", exclude={"root", "title", "description", "code", "settings"})
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
            names[one.position] = {POSITION: None}
    return [replace(row, weights=name) for row in rows for name in names.get(row.key.partition("-")[0], ())]
