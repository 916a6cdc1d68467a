"""What the commands are given: the model, and scans or images, one or many."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from tqdm import tqdm

from sg_hub.errors import InputsError, InvalidInputError, SgHubError
from sg_hub.io.image import Image, load_image
from sg_hub.io.scan import Scan, load_scan
from sg_hub.models import PretrainedModel, from_pretrained

Result = TypeVar("Result")
Input = Scan | Image
_KINDS = {3: "scans", 2: "images"}
_OPTIONS = {3: ("series", "nan", "spacing", "outside", "overlap"), 2: ("bits",)}
"""By number of dimensions: options that nothing else has."""
_READING = {3: ("series", "nan", "spacing", "outside"), 2: ("bits",)}
"""Those of them that say how a file is read."""


def load_model(options: argparse.Namespace, **settings: Any) -> PretrainedModel:
    """The model of the options, on their device; options that its inputs cannot have are refused.

    Raises:
        InvalidInputError, ReadError: see `sg_hub.from_pretrained`; a device that is not there.
    """
    device = device_of(options.device)
    model = from_pretrained(options.model, **settings)
    others = [name for ndim, names in _OPTIONS.items() if ndim != model.NDIM for name in names]
    given = [f"--{name}" for name in others if getattr(options, name, None) is not None]
    if given:
        kind = next(kind for ndim, kind in _KINDS.items() if ndim != model.NDIM)
        raise InvalidInputError(
            f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} for {kind}, and {options.model} takes "
            f"{_KINDS[model.NDIM]}: leave {'it' if len(given) == 1 else 'them'} out"
        )
    if getattr(options, "series", None) and len(getattr(options, "scans", ())) > 1:
        raise InvalidInputError("--series chooses within one DICOM folder: give one scan with it")
    return model.to(device)


def device_of(name: str) -> torch.device:
    """Of `auto` the first GPU there is, or the CPU.

    Raises:
        InvalidInputError: not on this machine.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, found in there.items() if found)
    if not there[name]:
        raise InvalidInputError(f"--device {name}: torch finds no such device here; leave it out, or give --device cpu")
    return torch.device(name)


def read(model: PretrainedModel, path: str, options: argparse.Namespace) -> Input:
    """What the model takes: a scan, or an image."""
    settings = {name: getattr(options, name) for name in _READING[model.NDIM]}
    return load_scan(path, **settings) if model.NDIM == 3 else load_image(path, **settings)


class Each(Generic[Result]):
    """What `work` gives for each of some files; those that fail are kept for the end.

    each = Each(options.scans, work, options.progress)
    for path, result in each:
        ...
    each.check()
    """

    def __init__(self, paths: Sequence[str], work: Callable[[str], Result], progress: bool) -> None:
        self.paths = paths
        self.failed: list[SgHubError] = []
        self._work = work
        self._progress = progress and len(paths) > 1

    def __iter__(self) -> Iterator[tuple[str, Result]]:
        for path in tqdm(self.paths, unit="scan", disable=not self._progress):
            try:
                result = self._work(path)
            except SgHubError as error:
                message = str(error)
                self.failed.append(error if path in message else SgHubError(f"{path}: {message}"))
            else:
                yield path, result

    def check(self) -> None:
        """Called at the end.

        Raises:
            SgHubError: the one that failed of one.
            InputsError: those that failed of several.
        """
        if self.failed and len(self.paths) == 1:
            raise self.failed[0]
        if self.failed:
            raise InputsError(self.failed, len(self.paths))
