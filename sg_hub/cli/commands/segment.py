"""sg-hub segment: label maps of scans and images, drawn over them, and how much of each class there is."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from sg_hub.cli.inputs import Each, all_scans, given_scans, load_model, read, say_json
from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.inference.amounts import Amount, amounts_of
from sg_hub.inference.predict import predict
from sg_hub.interop import dicom_seg
from sg_hub.io.files import LABEL_IMAGES, LABEL_MAPS, check_output, given_path, unwritable
from sg_hub.io.finder import IMAGE_SUFFIXES, SCAN_SUFFIXES
from sg_hub.io.scan import Scan
from sg_hub.models import PretrainedModel

_FOLDER = "labels"
"""Of the results of several scans, where no other is given."""
_SUFFIXES = {3: (*LABEL_MAPS, dicom_seg.SUFFIX), 2: LABEL_IMAGES}
_ALL = (*_SUFFIXES[3], *_SUFFIXES[2])
_READ = (*SCAN_SUFFIXES, ".img.gz", ".img", *IMAGE_SUFFIXES)


def run(options: argparse.Namespace) -> None:
    given = given_scans(options)
    _check_outputs(options, given)
    model = load_model(options)
    if not model.head.has_labels:
        raise InvalidInputError(
            f"{options.model} has a {model.head_name} head and knows no classes: give --model a "
            "folder of weights that were fine-tuned for segmentation"
        )
    scans = all_scans(model, options, without=_results_folder(options))
    many = _check_outputs(options, scans)
    outs, pictures = _results(options, scans, many, _suffixes(options, model))
    _check_apart(outs, pictures)

    def work(path: str) -> tuple[list[Amount], list[Path]]:
        as_dicom = outs[path].name.lower().endswith(dicom_seg.SUFFIX)
        if as_dicom:
            dicom_seg.dicom_frames(path, options.series)  # before the work
        scan = read(model, path, options)
        overlap = {} if getattr(options, "overlap", None) is None else {"overlap": options.overlap}
        labels = predict(model, scan, output="labels", progress=options.progress and not many, **overlap)
        amounts = amounts_of(model, scan, labels)
        if as_dicom and isinstance(scan, Scan):
            names = ("background", *(one.name for one in amounts))
            of = {"dicom": path, "series": options.series, "algorithm": Path(options.model).name}
            dicom_seg.save_dicom_seg(labels, scan, outs[path], class_names=names, **of)
        else:
            scan.save(labels, outs[path])
        if not pictures:
            return amounts, [outs[path]]
        from sg_hub.cli.drawing import draw_labels

        draw_labels(model, scan, labels, {f"{one.name}: {one.share}": one.value for one in amounts}, pictures[path])
        return amounts, [outs[path], pictures[path]]

    each = Each(scans, work, options.progress, options.json)
    for path, (amounts, files) in each:
        if options.json:
            shown = dict(zip(("labels", "picture"), map(str, files), strict=False))
            say_json({"scan": path, **shown, "classes": {one.name: one.numbers for one in amounts}})
            continue
        lines = [*(f"{one.name}: {one.count}, {one.share}" for one in amounts), *map(str, files)]
        print("\n".join([path, *(f"  {line}" for line in lines)] if many else lines), flush=True)
    each.check()


def _suffixes(options: argparse.Namespace, model: PretrainedModel) -> Sequence[str]:
    """Of the files that are written; the first where no name is given."""
    if not options.dicom_seg:
        return _SUFFIXES[model.NDIM]
    if model.NDIM == 2:
        raise InvalidInputError(f"--dicom-seg is for scans, and {options.model} takes images: leave it out")
    return (dicom_seg.SUFFIX,)


def _check_outputs(options: argparse.Namespace, scans: Sequence[str]) -> bool:
    """Refuse outputs that cannot be written, before the work. Returns whether they are folders of several results."""
    searched = any(Path(given).expanduser().is_dir() for given in options.scans)
    many = len(scans) > 1 or _is_folder(options.out, searched)
    _check(options.out, (dicom_seg.SUFFIX,) if options.dicom_seg else _ALL, scans, many)
    _check(options.picture, (".png",), scans, many)
    return many


def _results_folder(options: argparse.Namespace) -> Path | None:
    """Where the results of several go, whose names are those of scans; DICOM segmentations are never taken for some."""
    folder = Path(options.out or _FOLDER).expanduser().resolve()
    return folder if folder.is_dir() and not options.dicom_seg else None


def _results(
    options: argparse.Namespace, scans: Sequence[str], many: bool, suffixes: Sequence[str]
) -> tuple[dict[str, Path], dict[str, Path]]:
    """The file of the label map of every scan, and that of its picture where there are pictures."""
    if many:
        outs = _files_in(options.out or _FOLDER, scans, suffixes[0])
        return outs, _files_in(options.picture, scans, ".png") if options.picture else {}
    alone = scans[0]
    out = check_output(options.out or f"labels{suffixes[0]}", suffixes, [alone])
    return {alone: out}, {alone: Path(options.picture).expanduser()} if options.picture else {}


def _check_apart(outs: Mapping[str, Path], pictures: Mapping[str, Path]) -> None:
    """Refuse pictures that would replace label maps: of images both are PNG."""
    maps = {os.path.realpath(path) for path in outs.values()}
    both = next((path for path in pictures.values() if os.path.realpath(path) in maps), None)
    if both is not None:
        raise InvalidInputError(
            f"{both} would be the label map and the picture, of which one would be lost: give --picture another place"
        )


def _is_folder(path: str | None, searched: bool) -> bool:
    """Whether an output is a folder for one scan too: it is there, or written as one, or a folder was given to it."""
    if path is None or path.lower().endswith(_ALL):
        return False
    return searched or path.endswith(("/", os.sep)) or Path(path).expanduser().is_dir()


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
