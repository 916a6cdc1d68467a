"""sg-hub segment: label maps of scans and images, drawn over them, and how much of each class there is."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sg_hub.cli.inputs import Each, Input, load_model, read
from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.inference.predict import predict
from sg_hub.io.files import LABEL_IMAGES, LABEL_MAPS, check_output, given_path, unwritable
from sg_hub.io.image import Image
from sg_hub.models import PretrainedModel

_SUFFIXES = {3: LABEL_MAPS, 2: LABEL_IMAGES}
_READ = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr", ".hdr", ".img", ".dcm", ".png", ".jpg", ".jpeg", ".tif")


def run(options: argparse.Namespace) -> None:
    many = len(options.scans) > 1 or _is_folder(options.out)
    _check(options.out, LABEL_MAPS + LABEL_IMAGES, options.scans, many)
    _check(options.picture, (".png",), options.scans, many)
    model = load_model(options)
    if not model.head.has_labels:
        raise InvalidInputError(
            f"{options.model} has a {model.head_name} head and knows no classes: give --model a "
            "folder of weights that were fine-tuned for segmentation"
        )
    suffix = _SUFFIXES[model.NDIM][0]
    if many:
        outs = _files_in(options.out or "labels", options.scans, suffix)
        pictures = _files_in(options.picture, options.scans, ".png") if options.picture else {}
    else:
        alone = options.scans[0]
        outs = {alone: check_output(options.out or f"labels{suffix}", _SUFFIXES[model.NDIM], [alone])}
        pictures = {alone: Path(options.picture).expanduser()} if options.picture else {}

    def work(path: str) -> list[str]:
        given = read(model, path, options)
        overlap = {} if getattr(options, "overlap", None) is None else {"overlap": options.overlap}
        labels = predict(model, given, output="labels", progress=options.progress and not many, **overlap)
        given.save(labels, outs[path])
        lines, legend = _amounts(model, given, labels)
        lines.append(str(outs[path]))
        if pictures:
            from sg_hub.cli.drawing import draw_labels

            draw_labels(model, given, labels, legend, pictures[path])
            lines.append(str(pictures[path]))
        return lines

    each = Each(options.scans, work, options.progress)
    for path, lines in each:
        print("\n".join([path, *(f"  {line}" for line in lines)] if many else lines), flush=True)
    each.check()


def _is_folder(path: str | None) -> bool:
    """Whether an output is a folder for one scan too: it is there, or written as one."""
    if path is None or path.lower().endswith((*LABEL_MAPS, *LABEL_IMAGES)):
        return False
    return path.endswith(("/", os.sep)) or Path(path).expanduser().is_dir()


def _check(path: str | None, suffixes: Sequence[str], scans: Sequence[str], many: bool) -> None:
    """Refuse an output that cannot be written, before the work."""
    if path is None:
        return
    if not many:
        check_output(path, suffixes, scans)
        return
    folder = given_path(path, "the folder to be written")
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(f"{folder} is a file: of {len(scans)} scans give a folder for the results")
    if not folder.exists() and folder.name.lower().endswith(tuple(suffixes)):
        raise InvalidInputError(f"{folder}: the results of {len(scans)} scans need a folder, not one file; name one")
    if not folder.exists() and not folder.parent.is_dir():
        raise ReadError(f"{folder}: the folder {folder.parent} does not exist; make it first")


def _files_in(folder: str, scans: Sequence[str], suffix: str) -> dict[str, Path]:
    """A file for every scan, called as the scan is; where several are called the same, as their folders too.

    Raises:
        InvalidInputError: a scan given twice, or a result that would replace a scan.
        ReadError: the folder cannot be made.
    """
    where = given_path(folder, "the folder to be written")
    paths = [Path(os.path.abspath(given_path(scan, "a scan"))) for scan in scans]
    names = [_stem(path) for path in paths]
    if len(set(names)) < len(names):
        common = os.path.commonpath([path.parent for path in paths])
        names = ["-".join([*path.parent.relative_to(common).parts, _stem(path)]) for path in paths]
    double = [scan for scan, name in zip(scans, names, strict=True) if Counter(names)[name] > 1]
    if double:
        raise InvalidInputError(f"{' and '.join(double[:2])} would have the same result: give each scan once")
    try:
        where.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(where, error) from error
    return {
        scan: check_output(where / f"{name}{suffix}", [suffix], scans) for scan, name in zip(scans, names, strict=True)
    }


def _stem(path: Path) -> str:
    suffix = next((suffix for suffix in _READ if path.name.lower().endswith(suffix)), "")
    return path.name if path.is_dir() else path.name[: len(path.name) - len(suffix)]


def _amounts(model: PretrainedModel, given: Input, labels: np.ndarray) -> tuple[list[str], dict[str, int]]:
    """How much there is of each class: lines of text, and the legend of a picture."""
    lines, legend = [], {}
    names = (
        ("background", *getattr(model, "class_names", ()))
        if model.num_classes == 1
        else getattr(model, "class_names", ())
    )
    for value in range(1, max(model.num_classes, 2)):
        count = int((labels == value).sum())
        if isinstance(given, Image):
            unit, amount = "pixels", f"{100 * count / labels.size:.1f} % of the image"
        else:
            unit, amount = "voxels", f"{count * float(np.prod(given.spacing)) / 1000:.1f} ml"
        name = names[value] if value < len(names) else f"class {value}"
        lines.append(f"{name}: {count} {unit}, {amount}")
        legend[f"{name}: {amount}"] = value
    return lines, legend
