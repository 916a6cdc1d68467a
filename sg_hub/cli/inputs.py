"""What the commands are given: the model, and scans or images, one or many."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from sg_hub.devices import device_of
from sg_hub.errors import InputsError, InvalidInputError, ReadError, SgHubError
from sg_hub.io.files import given_path
from sg_hub.io.finder import PICTURE_SUFFIXES, find_images, find_scans
from sg_hub.io.formats.dicom.series import count_frames, find_series
from sg_hub.io.image import Image, load_image
from sg_hub.io.scan import Scan, load_scan
from sg_hub.models import PretrainedModel, from_pretrained

Result = TypeVar("Result")
Input = Scan | Image
_KINDS = {3: "scans", 2: "images"}
_OPTIONS = {3: ("series", "nan", "spacing", "rescale", "outside", "overlap"), 2: ("bits",)}
"""By number of dimensions: options that nothing else has."""
_READING = {3: ("series", "nan", "spacing", "rescale", "outside"), 2: ("bits",)}
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
    return model.to(device)


def given_scans(options: argparse.Namespace) -> list[str]:
    """The paths of the command line, and those in the file of `--list`.

    Raises:
        InvalidInputError: none.
        ReadError: a list that cannot be read.
    """
    paths = [*options.scans, *(_listed(options.list) if options.list is not None else [])]
    if not paths:
        where = f"{options.list} names none" if options.list is not None else "none was given"
        raise InvalidInputError(f"which scans? {where}: give files, a folder that holds some, or --list FILE")
    return paths


def read_files(options: argparse.Namespace) -> list[str]:
    """What the command reads and must not replace: the scans, and the file of `--list`. Errors as for `given_scans`."""
    return given_scans(options) + ([options.list] if options.list not in (None, "-") else [])


def all_scans(
    model: PretrainedModel, options: argparse.Namespace, without: Path | None = None, apart: bool = True
) -> list[str]:
    """Everything that was given, and in place of a folder of several what it holds, as far down as it goes. Of a DICOM
    folder with several series each counts, by its first file.

    Args:
        without: folder of results, in which nothing is looked for.
        apart: whether the series of a folder are told apart.

    Raises:
        InvalidInputError, ReadError: see `given_scans`; a folder with two scans of one name, or that is also that of
            the results.
    """
    one = not apart or getattr(options, "series", None) is not None
    found = [path for given in given_scans(options) for path in _below(given, model.NDIM, without, one)]
    if getattr(options, "series", None) and len(found) > 1:
        raise InvalidInputError("--series chooses within one DICOM folder: give one scan with it")
    return found


def _below(given: str, ndim: int, without: Path | None, one: bool) -> list[str]:
    """The path itself, or the scans in the folder that it is; nothing there is said when it is read.

    Args:
        one: whether a folder is one scan, whatever series it holds.
    """
    path = given_path(given, "a scan")
    if not path.is_dir():
        return [given]
    if without == path.resolve():
        raise InvalidInputError(
            f"{given} is to hold the results, too, which would be taken for {_KINDS[ndim]} the next time: give --out "
            f"another folder, such as {path / 'results'}"
        )
    found = (find_scans if ndim == 3 else find_images)(path, without).values()
    files = [str(file) for each in found for file in ([each] if one or ndim == 2 else _series_of(each))]
    if not files:
        _check_dimension(path, ndim)
    return files or [given]


def _series_of(path: Path) -> list[Path]:
    """A scan; in place of a folder with several series the first file of each, which stands for its series. Series of
    one slice, such as scouts, are left out where there are others."""
    found = [series for series in (find_series(path) if path.is_dir() else []) if series.folder == path]
    if len({series.uid for series in found}) < 2:
        return [path]
    frames = {series.uid: count_frames(Path(series.files[0])) for series in found}
    if any(count > 1 and len(series.files) > 1 for series in found if (count := frames[series.uid])):
        return [path]  # a file of several frames would stand for itself alone: which is meant is asked when it is read
    whole = [series for series in found if len(series.files) > 1 or frames[series.uid] > 1]
    for series in found if whole else []:
        if series not in whole:
            print(f"note: {series.files[0]} is a series of one slice, and is left out", file=sys.stderr, flush=True)
    return [Path(series.files[0]) for series in whole or found]


def _check_dimension(folder: Path, ndim: int) -> None:
    """Refuse a folder that holds what networks of the other dimension take.

    Raises:
        InvalidInputError: naming one.
    """
    others = (find_images if ndim == 3 else find_scans)(folder).values()
    other = next((file for file in others if ndim == 2 or file.suffix.lower() in PICTURE_SUFFIXES), None)
    if other is not None:
        raise InvalidInputError(
            f"{folder} holds {_KINDS[5 - ndim]}, such as {other}, and the weights take {_KINDS[ndim]}: give --model "
            f"{5 - ndim}D weights, such as semantic-genesis-{5 - ndim}d-tiny"
        )


def _listed(name: str) -> list[str]:
    """Paths of a text, one a line; those that are not there are looked for beside the text."""
    path = given_path(name, "a text with the path of one scan a line")
    try:
        text = sys.stdin.read() if name == "-" else path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ReadError(f"--list {name} cannot be read ({reason}): give a text with one path a line") from error
    lines = [line.strip() for line in text.splitlines()]
    beside = Path() if name == "-" else path.parent
    return [
        str(beside / line) if not Path(line).exists() and (beside / line).exists() else line for line in lines if line
    ]


def read(model: PretrainedModel, path: str, options: argparse.Namespace) -> Input:
    """What the model takes: a scan, or an image."""
    settings = reading_of(model, options)
    return load_scan(path, **settings) if model.NDIM == 3 else load_image(path, **settings)


def reading_of(model: PretrainedModel, options: argparse.Namespace) -> dict[str, Any]:
    """How files are read that the model takes: arguments of `load_scan`, or of `load_image`."""
    settings = {name: getattr(options, name) for name in _READING[model.NDIM]}
    return {name: value for name, value in settings.items() if value is not None}


def say_json(value: dict[str, Any]) -> None:
    """An object on a line of standard output, which a reader of it gets at once."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


class Each(Generic[Result]):
    """What `work` gives for each of some files; those that fail are kept for the end.

    each = Each(options.scans, work, options.progress)
    for path, result in each:
        ...
    each.check()

    Args:
        say_failed: whether a failure is also a JSON object on standard output, as soon as it is there.
    """

    def __init__(
        self, paths: Sequence[str], work: Callable[[str], Result], progress: bool, say_failed: bool = False
    ) -> None:
        self.paths = paths
        self._say_failed = say_failed
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
                if self._say_failed:
                    say_json({"scan": path, "error": " ".join(message.split())})
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
