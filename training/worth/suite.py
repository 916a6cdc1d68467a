"""The suite: every part for every one of the weights, each once, in an order in which a stopped run is a fair one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sg_hub.errors import InvalidInputError

from ..compare.compare import compare
from ..run.folder.lock import run_lock
from ..run.processes.process_group import training_device
from ..statistics.patients import AUC, LANDMARKS
from ..targets import Item, load_target
from ..trials.task.initialisation import Initialisation, say_taken
from .asked import FROZEN, POSITION, ZERO, Asked, fresh_of, of_these
from .cards import write_card_records
from .data import Data, Maps, data_key, on_grid_of
from .measures.classification import classified
from .measures.landmarks import DRAWS, PATIENTS, Find, Landmarks, centres
from .measures.light_decoder import light_decoder
from .measures.probes import LABELLED, SUBSETS, linear_probe
from .networks import contenders
from .page import write_page
from .rows import Row, append, read_rows, row

FEW = "few"
PARTS = (ZERO, FROZEN, FEW)


def worth(
    target: str | Path,
    weights: Sequence[str],
    out: str | Path,
    overrides: Sequence[str] = (),
    *,
    parts: Sequence[str] = ("zero", "frozen"),
    data: str | Path | None = None,
    patients: int | None = None,
    draws: int = 1,
    calibrate: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Measure what is missing; returns the page.

    Args:
        target: TOML file or shipped name. Organs' centres are the landmarks of a segmentation.
        weights: names or folders, and `random:NAME` for a network of that architecture with calibrated statistics.
        parts: zero (landmarks without labels), frozen (probes), few (fine-tuned with few labels and with all, as
            `training.compare` does it, in the folder few).
        data: folder that stands for `data/` in the root of a shipped target.
        patients: test patients that are looked at, at most; absent: all, and of landmarks 15 (their pairs are many).
        draws: of every random network.
        calibrate: the statistics of norms are those of clean patches in weights, too, not in random networks alone.
        device: where networks run.

    Raises:
        InvalidInputError: weights or a target that cannot be had or measured, test patients that were pre-trained on,
            or another process that writes there.
        ReadError: data that are not there, or damaged.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise InvalidInputError(f"parts {', '.join(parts)}: expected some of {', '.join(PARTS)}")
    if patients is not None and patients < 2:
        raise InvalidInputError(f"patients={patients}: expected at least 2, for pairs")
    out, where = Path(out), training_device(device)
    given: dict[str, Any] = {"data": data, "device": device, "progress": progress}
    trained = functools.partial(compare, str(target), weights, out / FEW, overrides, **given)
    few, parts = FEW in parts, [part for part in parts if part != FEW]
    if not parts:
        return trained()
    asked = _asked(target, weights, overrides, data, patients, draws, calibrate)
    task, starts = asked[0].task, [one.contender.start for one in asked]
    if task.head == "segmentation" and task.ndim == 2:
        raise InvalidInputError(f"target {task.name}: a segmentation of images is not measured")
    if task.head == "classification" and FROZEN not in parts:
        raise InvalidInputError(f"target {task.name}: of a classification the part frozen alone is measured")
    for one in asked:
        on_grid_of(task, one.contender)  # said now, not after an hour
    if few:
        trained()
    say_taken(task, starts[0].init)
    with run_lock(out):
        of_data = data_key(task, starts, out)
        done = {one.key for one in read_rows(out) if one.is_of(of_data)}
        for one in asked:
            _Measured(one, starts, out, done, of_data, where, progress).run(parts)
        rows = read_rows(out)
        write_card_records(out, rows, asked)
        random = {one.contender.start.init: fresh_of(one, asked) for one in asked}
        names = {name: found[0].contender.start.init for name, found in random.items() if found}
        return write_page(out, of_these(rows, asked, parts), list(weights), names, task.title, task.doubtful)


def measured(
    target: str | Path,
    weights: Sequence[str],
    out: str | Path,
    overrides: Sequence[str] = (),
    *,
    parts: Sequence[str] = (ZERO, FROZEN),
    data: str | Path | None = None,
    patients: int | None = None,
    draws: int = 1,
    calibrate: bool = False,
) -> list[Row]:
    """What is there of all that `worth` measures with these arguments, under these names; no data are needed.

    Raises:
        InvalidInputError, ReadError: see `worth`.
    """
    asked = _asked(target, weights, overrides, data, patients, draws, calibrate)
    return of_these(read_rows(Path(out)), asked, parts)


def _asked(
    target: str | Path,
    weights: Sequence[str],
    overrides: Sequence[str],
    data: str | Path | None,
    patients: int | None,
    draws: int,
    calibrate: bool,
) -> list[Asked]:
    found = contenders(list(weights), draws, calibrate)
    task = load_target(target, overrides, data, [contender.start.config["preprocessing"] for contender in found])
    return [Asked(task, contender, patients) for contender in found]


class _Measured:
    """What is measured of one network without training it.

    Args:
        starts: of all that it is held against.
        done: keys of what is there.
        of_data: key of the data.
    """

    def __init__(
        self,
        asked: Asked,
        starts: Sequence[Initialisation],
        out: Path,
        done: set[str],
        of_data: str,
        device: torch.device,
        progress: bool,
    ) -> None:
        self.asked, self.starts, self.out, self.done, self.of_data = asked, starts, out, done, of_data
        self.contender, self.task, self.patients = asked.contender, asked.task, asked.patients
        self.device, self.progress = device, progress
        self._loaded: tuple[Data, Any] | None = None
        self._maps: Maps | None = None

    def run(self, parts: Sequence[str]) -> None:
        """Measure what is not there yet."""
        if self.task.head == "classification":
            self._classified()
        else:
            if ZERO in parts:
                self._landmarks()
            if FROZEN in parts:
                self._frozen()
        if self._maps is not None:
            self._maps.clear()

    def _landmarks(self) -> None:
        keys, position = self.asked.landmarks, self.asked.position
        if self.done >= {*keys.values(), *position.values()}:
            return
        data, _ = self._data()
        items = _with_landmarks(data, self._test(data, self.patients or PATIENTS))
        landmarks = Landmarks(data, items, self.progress)
        names = [item.patient for item in items]

        def keep(key: str, measure: str, find: Find, title: str, **of: str) -> None:
            pairs = measure == LANDMARKS
            errors = landmarks.pairs(find, title) if pairs else landmarks.votes(find, title)
            draws = names if pairs else [str(number) for number in range(DRAWS)]
            common = {"part": ZERO, "classes": list(self.task.classes), "patients": names, "joint": pairs}
            self._keep(row(errors, key=key, measure=measure, draws=draws, **of, **common))

        for measure, key in position.items():
            if key not in self.done:
                keep(key, measure, landmarks.by_position, f"{measure}, position", what="", weights=POSITION)
        maps = self._feature_maps()
        levels = {"decoder": maps.decoder, "encoder": maps.encoder}
        for (measure, what), key in keys.items():
            if key not in self.done and levels[what]:
                title = f"{self.contender.name}: {measure}, {what}"
                keep(
                    key,
                    measure,
                    landmarks.by_features(maps, levels[what]),
                    title,
                    what=what,
                    weights=self.contender.start.init,
                )

    def _frozen(self) -> None:
        for what, key in self.asked.probes.items():
            self._segmented(key, f"linear probe, {what}", linear_probe, what)
        self._segmented(self.asked.light_decoder, "light decoder", light_decoder, "encoder")

    def _segmented(self, key: str, title: str, measure: Callable[..., dict[str, np.ndarray]], what: str) -> None:
        """Something that is trained on frozen feature maps, of encoder or decoder, and tested."""
        if key in self.done:
            return
        data, _ = self._data()
        maps, test = self._feature_maps(), self._test(data, self.patients)
        levels = maps.encoder if what == "encoder" else maps.decoder
        if not levels:
            return
        found = measure(data, maps, levels, test, f"{self.contender.name}: {title}", self.progress)
        common = {
            "part": FROZEN,
            "what": f"{title}, {LABELLED} patients",
            "weights": self.contender.start.init,
            "draws": [str(number) for number in range(SUBSETS)],
            "patients": [item.patient for item in test],
            "classes": list(self.task.classes),
        }
        # The key is that of the last one, so that a row without the others is no complete measurement.
        rows = [row(values, key=f"{key}-{n}", measure=m, **common) for n, (m, values) in enumerate(found.items())]
        self._keep(*rows[:-1], replace(rows[-1], key=key))

    def _classified(self) -> None:
        keys = self.asked.classified
        if self.done >= {*keys.values()}:
            return
        data, network = self._data()
        test = self._test(data, self.patients)
        classes, found = classified(data, network, test, self.device, self.progress)
        common = {
            "part": FROZEN,
            "measure": AUC,
            "weights": self.contender.start.init,
            "patients": [item.patient for item in test],
            "classes": classes,
        }
        for what, values in found.items():
            draws = [str(number) for number in range(len(values))]
            self._keep(row(values, key=keys[what], what=what, draws=draws, **common))

    def _data(self) -> tuple[Data, Any]:
        if self._loaded is None:
            data = Data(self.task, self.contender, self.out, others=self.starts, progress=self.progress)
            size = data.target.patch
            self._loaded = data, self.contender.network(data.patches(size), self.device)
        return self._loaded

    def _feature_maps(self) -> Maps:
        if self._maps is None:
            data, network = self._data()
            self._maps = Maps(network, data, self.out / "maps" / self.asked.maps(self.of_data))
        return self._maps

    def _test(self, data: Data, most: int | None) -> list[Item]:
        """The items of the first patients of the test part."""
        patients = [*dict.fromkeys(item.patient for item in data.parts["test"])][:most]
        return [item for item in data.parts["test"] if item.patient in patients]

    def _keep(self, *rows: Row) -> None:
        append(self.out, [replace(one, data=self.of_data) for one in rows])
        self.done |= {one.key for one in rows}


def _with_landmarks(data: Data, items: list[Item]) -> list[Item]:
    kept = [item for item, found in zip(items, centres(data, items), strict=True) if found]
    if len(kept) < 2:
        raise InvalidInputError(
            f"target {data.target.name}: {len(kept)} test items have any class: landmarks need two patients or more"
        )
    return kept
