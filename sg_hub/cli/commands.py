"""What each command of sg-hub does. Results go to standard output or a file, progress to standard error."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from sg_hub.cli.cubes import draw_cubes, hide_boxes
from sg_hub.conversion.convert import convert
from sg_hub.errors import InvalidInputError
from sg_hub.hub.registry import get_weights, list_models
from sg_hub.inference.predict import embed, predict
from sg_hub.io.files import LABEL_IMAGES, LABEL_MAPS, check_output, writing
from sg_hub.io.image import Image, load_image
from sg_hub.io.scan import Scan, load_scan
from sg_hub.models import PretextOutput, SemanticGenesis, from_pretrained


def run_models(options: argparse.Namespace) -> None:
    """List the registered weights."""
    names = list_models()
    if not names:
        print("no models are registered in this installation", file=sys.stderr)
    for name in names:
        weights = get_weights(name)
        where = "shipped" if weights.folder else weights.repo_id or "not in this installation"
        if weights.how_to_get:
            where = "to be converted"
        size = f"{weights.size_mb:g} MB" if weights.size_mb else "size unknown"
        print(f"{name:28} {weights.architecture:18} {where}, {size}, licence {weights.licence}")
        print(f"    {weights.description}")
        if weights.how_to_get:
            print(f"    {weights.how_to_get}")


def run_info(options: argparse.Namespace) -> None:
    """Say what a model is, what it expects, and where it comes from."""
    model = _load(options.model)
    config = model.config()
    preprocessing, provenance = config.pop("preprocessing"), dict(config.pop("provenance"))
    patients = provenance.pop("patients", [])
    print(f"{options.model}: {type(model).__name__}, {sum(p.numel() for p in model.parameters()):,} parameters")
    print(f"  {model.load_report}")
    if model.load_report and model.load_report.sha256:
        print(f"  sha256 {model.load_report.sha256}")
    for key, value in config.items():
        print(f"  {key}: {json.dumps(value)}")
    print(f"  feature channels {model.encoder.channels}, strides {model.encoder.strides}")
    for section, entries in (("preprocessing", preprocessing), ("provenance", provenance)):
        for key, value in entries.items():
            print(f"  {section}.{key}: {json.dumps(value, ensure_ascii=False)}")
    if patients:
        print(f"  pre-trained on {len(patients)} patients")


def run_convert(options: argparse.Namespace) -> None:
    """A published checkpoint to a model folder."""
    folder = convert(options.file, options.out_dir, norm=options.norm)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    provenance = config["provenance"]
    classes = f", {config['num_classes']} patterns" if config["num_classes"] else ", no classifier"
    print(f"{provenance['checkpoint']}: head {config['head']}{classes}, norm {config['norm']}")
    if provenance["left_out"]:
        print(f"left out: {', '.join(provenance['left_out'])}")
    print(f"licence: {provenance['licence_name']}, non-commercial use only ({provenance['licence_link']})")
    print(folder)


def run_export(options: argparse.Namespace) -> None:
    """The network as an ONNX file, and how far onnxruntime is from it."""
    from sg_hub.export import export_onnx

    check_output(options.onnx, (".onnx",))
    model = from_pretrained(
        options.model, head=options.head, num_classes=options.num_classes, in_chans=options.in_chans, norm=options.norm
    )
    difference = export_onnx(model, options.onnx, size=options.size)
    reset = model.load_report.reset if model.load_report else []
    if reset:
        print(f"sg-hub: {len(reset)} tensors are at random ({', '.join(reset[:4])}): fine-tune first", file=sys.stderr)
    if difference is None:
        print("not checked: onnxruntime is not installed (pip install onnxruntime)", file=sys.stderr)
    else:
        print(f"largest difference from onnxruntime: {difference:.2g}")
    size = " x ".join(map(str, options.size)) if options.size else f"multiples of {model.encoder.strides[-1]}"
    print(f"input (N, {model.in_chans}, size) in 0..1, size {size}; head {model.head_name}")
    print(options.onnx)


def run_embed(options: argparse.Namespace) -> None:
    """One feature vector per scan: to a .npy or .csv file, or as CSV to standard output."""
    out = check_output(options.out, (".npy", ".csv"), options.scans) if options.out else None
    if options.series and len(options.scans) > 1:
        raise InvalidInputError("--series chooses within one DICOM folder: give one scan with it")
    model = _load(options.model)
    for path in options.scans:  # the typing mistakes first, before minutes of work
        if not Path(path).expanduser().exists():
            _read(model, path, options)
    several = len(options.scans) > 1
    rows = [
        embed(model, _read(model, path, options), progress=options.progress and not several)
        for path in tqdm(options.scans, unit="scan", disable=not (options.progress and several))
    ]
    features = np.stack(rows)
    if out is None:
        _write_csv(sys.stdout, options.scans, features)
        return
    with writing(out) as file:
        if out.suffix.lower() == ".npy":
            np.save(file, features)
        else:
            text = io.StringIO(newline="")
            _write_csv(text, options.scans, features)
            file.write(text.getvalue().encode("utf-8", errors="surrogateescape"))
    print(f"{out}: {features.shape[0]} x {features.shape[1]} (scans x features)")


def run_restore(options: argparse.Namespace) -> None:
    """Hide a box of some cubes, restore them, and draw both."""
    from sg_hub.io.pictures import ORIENTATION, Row, axial, grey, montage, save_png

    out = check_output(options.out, (".png",), [options.scan])
    model = _load(options.model)
    if model.head_name not in ("pretext", "restoration"):
        raise InvalidInputError(
            f"{options.model} has a {model.head_name} head and cannot restore: give --model weights with a pretext head"
        )
    scan = _read(model, options.scan, options)
    if isinstance(scan, Image):
        from sg_hub.cli.image_commands import restore

        return restore(model, scan, options, out)
    x = model.preprocess(scan)
    cubes = draw_cubes(x, model.preprocessing.input_size, options.cubes, options.seed)
    corrupted = hide_boxes(cubes, options.seed)
    with torch.inference_mode():
        output = model(corrupted)
    restored = output.restoration if isinstance(output, PretextOutput) else output
    before, after = (float(((batch - cubes) ** 2).mean()) for batch in (corrupted, restored))
    z = cubes.shape[-1] // 2
    rows = [
        Row(label, [grey(axial(cube[0].numpy(), z)) for cube in batch], _pixel(scan, x)[:2])
        for label, batch in (
            (f"input: axial slices of {len(cubes)} cubes, {ORIENTATION['axial']}", cubes),
            (f"corrupted: a box of noise, mean squared error {before:.4f}", corrupted),
            (f"restored by {Path(options.model).name}, mean squared error {after:.4f}", restored),
        )
    ]
    save_png(montage(rows), out)
    print(f"mean squared error: {before:.5f} corrupted, {after:.5f} restored")
    print(out)


def run_segment(options: argparse.Namespace) -> None:
    """Write the label map of a scan, and draw it over the scan."""
    picture = check_output(options.picture, (".png",), [options.scan]) if options.picture else None
    if options.out:
        check_output(options.out, LABEL_MAPS + LABEL_IMAGES, [options.scan])
    model = _load(options.model)
    if model.head_name != "segmentation":
        raise InvalidInputError(
            f"{options.model} has a {model.head_name} head and knows no classes: give --model a "
            "folder of weights that were fine-tuned for segmentation"
        )
    if model.NDIM == 2:
        from sg_hub.cli.image_commands import segment

        if options.overlap is not None:
            raise InvalidInputError(f"--overlap is for scans, and {options.model} takes images: leave it out")
        out = check_output(options.out or "labels.png", LABEL_IMAGES, [options.scan])
        return segment(model, _image(options.scan, options), out, picture)
    out = check_output(options.out or "labels.nii.gz", LABEL_MAPS, [options.scan])
    scan = _scan(options.scan, options)
    overlap = 0.5 if options.overlap is None else options.overlap
    labels = predict(model, scan, output="labels", overlap=overlap, progress=options.progress)
    scan.save(labels, out)
    classes = {}
    for value in range(1, max(model.num_classes, 2)):
        voxels = int((labels == value).sum())
        millilitres = voxels * float(np.prod(scan.spacing)) / 1000
        classes[f"class {value}: {millilitres:.1f} ml"] = value
        print(f"class {value}: {voxels} voxels, {millilitres:.1f} ml")
    print(out)
    if picture:
        _draw_labels(model, scan, labels, classes, picture)
        print(picture)


def run_preprocess(options: argparse.Namespace) -> None:
    """Say, write and draw what the network gets to see of a scan or an image."""
    out = check_output(options.out, (".npy",), [options.scan]) if options.out else None
    picture = check_output(options.picture, (".png",), [options.scan]) if options.picture else None
    model = _load(options.model)
    scan = _read(model, options.scan, options)
    x = model.preprocess(scan)
    print(scan)
    print(f"input of the network: {tuple(x.shape)}, values {float(x.min()):.3f} to {float(x.max()):.3f}")
    if out:
        with writing(out) as file:
            np.save(file, x.numpy())
        print(out)
    if picture:
        if isinstance(scan, Image):
            from sg_hub.cli.image_commands import draw_input

            draw_input(scan, x, picture)
        else:
            _draw_input(scan, x, picture)
        print(picture)


def _draw_input(scan: Scan, x: Tensor, path: Path) -> None:
    """Axial and coronal planes of what the network gets to see of a scan, (1, C, X, Y, Z)."""
    from sg_hub.io.pictures import ORIENTATION, Row, axial, coronal, grey, montage, save_png

    volume, (dy, dx, dz) = x[0, 0].numpy(), _pixel(scan, x)
    places = np.linspace(0.1, 0.9, 6)
    zs, ys = ([int(p * count) for p in places] for count in (volume.shape[2], volume.shape[1]))
    rows = [
        Row(
            f"axial, inferior to superior ({ORIENTATION['axial']})",
            [grey(axial(volume, z)) for z in zs],
            (dy, dx),
        ),
        Row(
            f"coronal, anterior to posterior ({ORIENTATION['coronal']})",
            [grey(coronal(volume, y)) for y in ys],
            (dz, dx),
        ),
    ]
    save_png(montage(rows, cell=200), path)


def _draw_labels(model: SemanticGenesis, scan: Scan, labels: np.ndarray, classes: dict[str, int], path: Path) -> None:
    from sg_hub.io.pictures import ORIENTATION, Row, axial, coronal, grey, montage, overlay, save_png

    # The window that the network sees through, in the scan's own units.
    low, high = model.preprocessing.low, model.preprocessing.high
    if model.preprocessing.intensity == "percentile":
        low, high = (float(value) for value in np.percentile(scan.array[0], (low, high)))
    shown = (scan.array[0] - low) / max(high - low, 1e-6)
    y, z = _fullest(labels, axis=1), _fullest(labels, axis=2)
    dx, dy, dz = scan.spacing
    rows = [
        Row(
            f"axial slice {z} of {labels.shape[2]}: {ORIENTATION['axial']}",
            [grey(axial(shown, z)), overlay(axial(shown, z), axial(labels, z))],
            (dy, dx),
        ),
        Row(
            f"coronal slice {y} of {labels.shape[1]}: {ORIENTATION['coronal']}",
            [grey(coronal(shown, y)), overlay(coronal(shown, y), coronal(labels, y))],
            (dz, dx),
        ),
    ]
    save_png(montage(rows, cell=384, legend=classes), path)


def _fullest(labels: np.ndarray, axis: int) -> int:
    """Index of the slice with the most labelled voxels; of several, the one nearest the middle."""
    others = tuple(other for other in range(3) if other != axis)
    counts = (labels > 0).sum(axis=others)
    best = np.flatnonzero(counts == counts.max())
    return int(best[np.abs(best - (len(counts) - 1) / 2).argmin()])


def _pixel(scan: Scan, x: Tensor) -> tuple[float, float, float]:
    """Spacing (y, x, z) in mm of the network's grid, which covers the scan edge to edge."""
    dx, dy, dz = (length / count for length, count in zip(scan.extent, x.shape[2:], strict=True))
    return dy, dx, dz


def _write_csv(file: TextIO, scans: Sequence[str], features: np.ndarray) -> None:
    """A row per scan: its path, then its features."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["scan", *(f"feature_{index}" for index in range(features.shape[1]))])
    for path, row in zip(scans, features, strict=True):
        writer.writerow([path, *(f"{value:.6g}" for value in row)])


def _load(name: str) -> SemanticGenesis:
    return from_pretrained(name)


def _read(model: SemanticGenesis, path: str, options: argparse.Namespace) -> Scan | Image:
    """What the model takes: a scan, or an image."""
    return _scan(path, options) if model.NDIM == 3 else _image(path, options)


def _image(path: str, options: argparse.Namespace) -> Image:
    if options.series is not None or options.nan is not None:
        raise InvalidInputError(f"--series and --nan are for scans, and {options.model} takes images: leave them out")
    return load_image(path, bits=options.bits)


def _scan(path: str, options: argparse.Namespace) -> Scan:
    if options.bits is not None:
        raise InvalidInputError(f"--bits is for images, and {options.model} takes scans: leave it out")
    return load_scan(path, series=options.series, nan=options.nan)
