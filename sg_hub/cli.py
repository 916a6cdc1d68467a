"""sg-hub: the commands. Results on standard output, progress on standard error; a user's mistake exits with 2."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sg_hub.errors import InvalidInputError, SgHubError

if TYPE_CHECKING:
    from sg_hub import Scan, SemanticGenesis3D

DEFAULT_MODEL = "semantic-genesis-3d-tiny"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code (0 done, 2 a mistake in what was given, 130 stopped)."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO if options.verbose else logging.WARNING)
    try:
        options.run(options)
    except SgHubError as error:
        print(f"sg-hub: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        sys.stderr.close()
        return 0
    return 0


def _models(options: argparse.Namespace) -> None:
    from sg_hub.registry import get_weights, list_models

    for name in list_models():
        weights = get_weights(name)
        where = "shipped" if weights.folder else weights.repo_id or "not in this installation"
        print(f"{name:32} {weights.architecture:18} {where:10} {weights.size_mb} MB  {weights.licence}")
        print(f"    {weights.description}")


def _info(options: argparse.Namespace) -> None:
    import json

    model = _load(options)
    config = model.config()
    patients = config["provenance"].pop("patients", [])
    print(f"{options.model}: {type(model).__name__}, {sum(p.numel() for p in model.parameters()):,} parameters")
    print(f"  {model.load_report}")
    print(f"  feature channels {model.encoder.channels}, strides {model.encoder.strides}")
    for section in ("preprocessing", "provenance"):
        for key, value in config.pop(section).items():
            print(f"  {section}.{key}: {json.dumps(value)}")
    for key, value in config.items():
        print(f"  {key}: {json.dumps(value)}")
    if patients:
        print(f"  pre-trained on {len(patients)} patients")


def _embed(options: argparse.Namespace) -> None:
    import numpy as np

    from sg_hub import embed

    model, scan = _load(options), _scan(options)
    features = embed(model, scan, progress=options.progress)
    if options.out:
        _write_atomic(Path(options.out), lambda path: np.save(path, features), ".npy")
        print(f"{options.out}: {features.shape[0]} features")
    else:
        print(" ".join(f"{value:.5g}" for value in features))


def _restore(options: argparse.Namespace) -> None:
    import torch

    from sg_hub.pictures import axial, grey, montage, save_png

    model, scan = _load(options), _scan(options)
    if model.head_name != "pretext":
        raise InvalidInputError(f"{options.model} has a {model.head_name} head: restoring needs pretext weights")
    cubes = _draw_cubes(model.preprocess(scan), model.preprocessing.input_size, options.cubes, options.seed)
    corrupted = hide_boxes(cubes, options.seed)
    with torch.inference_mode():
        restored = model(corrupted).restoration
    before, after = (float(((x - cubes) ** 2).mean()) for x in (corrupted, restored))
    rows = {"input": cubes, "corrupted: a box of noise": corrupted, "restored": restored}
    z = cubes.shape[-1] // 2
    picture = montage({name: [grey(axial(cube[0].numpy(), z)) for cube in batch] for name, batch in rows.items()})
    save_png(picture, options.out)
    print(f"mean squared error: {before:.5f} corrupted, {after:.5f} restored")
    print(options.out)


def _segment(options: argparse.Namespace) -> None:
    from sg_hub import predict
    from sg_hub.pictures import axial, coronal, grey, montage, overlay, save_png

    model, scan = _load(options), _scan(options)
    if model.head_name != "segmentation":
        raise InvalidInputError(
            f"{options.model} has a {model.head_name} head and knows no classes: give --model a folder of weights that "
            "were fine-tuned for segmentation"
        )
    labels = predict(model, scan, output="labels", overlap=options.overlap, progress=options.progress)
    scan.save(labels, options.out)
    for value in range(1, model.num_classes):
        voxels = int((labels == value).sum())
        volume = voxels * float(scan.spacing[0] * scan.spacing[1] * scan.spacing[2]) / 1000
        print(f"class {value}: {voxels} voxels, {volume:.1f} ml")
    if options.picture:
        low, high = model.preprocessing.low, model.preprocessing.high
        shown = (scan.array[0] - low) / (high - low)
        counts = (labels > 0).sum(axis=(0, 1))
        z, y = int(counts.argmax()), int((labels > 0).sum(axis=(0, 2)).argmax())
        save_png(
            montage(
                {
                    f"axial {z}": [grey(axial(shown, z)), overlay(axial(shown, z), axial(labels, z))],
                    f"coronal {y}": [grey(coronal(shown, y)), overlay(coronal(shown, y), coronal(labels, y))],
                },
                cell=256,
            ),
            options.picture,
        )
        print(options.picture)
    print(options.out)


def _preprocess(options: argparse.Namespace) -> None:
    import numpy as np

    from sg_hub.pictures import axial, coronal, grey, montage, save_png

    model, scan = _load(options), _scan(options)
    print(scan)
    x = model.preprocess(scan)
    print(f"input of the network: {tuple(x.shape)}, values {float(x.min()):.3f} to {float(x.max()):.3f}")
    if options.out:
        _write_atomic(Path(options.out), lambda path: np.save(path, x.numpy()), ".npy")
        print(options.out)
    if options.picture:
        volume = x[0, 0].numpy()
        places = np.linspace(0.1, 0.9, 6)
        rows = {
            "axial, inferior to superior": [grey(axial(volume, int(p * volume.shape[2]))) for p in places],
            "coronal, anterior to posterior": [grey(coronal(volume, int(p * volume.shape[1]))) for p in places],
        }
        save_png(montage(rows, cell=160), options.picture)
        print(options.picture)


def hide_boxes(cubes, seed: int):  # type: ignore[no-untyped-def]  # torch is imported late
    """Copies of (N, C, X, Y, Z) with a box of a third of each side, in the middle, filled with uniform noise."""
    import torch

    hidden = cubes.clone()
    box = tuple(slice(side // 3, side - side // 3) for side in cubes.shape[2:])
    noise = torch.rand(cubes.shape, generator=torch.Generator().manual_seed(seed))
    hidden[(..., *box)] = noise[(..., *box)]
    return hidden


def _draw_cubes(x, size, count: int, seed: int):  # type: ignore[no-untyped-def]
    """`count` cubes of (1, C, X, Y, Z), those with the most structure out of many random places."""
    import torch
    import torch.nn.functional as F

    short = [max(0, want - have) for want, have in zip(size, x.shape[2:], strict=True)]
    x = F.pad(x, [value for amount in reversed(short) for value in (0, amount)])
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(8 * count):
        corner = [
            int(torch.randint(have - want + 1, (), generator=generator))
            for want, have in zip(size, x.shape[2:], strict=True)
        ]
        part = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
        found.append(x[(0, slice(None), *part)])
    found.sort(key=lambda cube: -float(cube.std()))
    return torch.stack(found[:count])


def _load(options: argparse.Namespace) -> SemanticGenesis3D:
    from sg_hub import from_pretrained

    return from_pretrained(options.model)


def _scan(options: argparse.Namespace) -> Scan:
    from sg_hub import load_scan

    return load_scan(options.scan, series=options.series, nan=options.nan)


def _write_atomic(path: Path, write, suffix: str) -> None:  # type: ignore[no-untyped-def]
    import os

    if path.suffix != suffix:
        raise InvalidInputError(f"{path}: the result is a {suffix} file, so name it *{suffix}")
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    write(temporary)
    os.replace(temporary, path)


def _parser() -> argparse.ArgumentParser:
    from sg_hub import __version__

    parser = argparse.ArgumentParser(prog="sg-hub", description="Semantic Genesis weights on scans of your own.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--verbose", action="store_true", help="say what was loaded")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run, text: str, *, model: bool = False, scan: bool = False) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        if scan:
            added.add_argument("scan", help="DICOM folder, NIfTI, MHD/MHA or NRRD file")
            added.add_argument("--series", help="SeriesInstanceUID, where a DICOM folder holds several")
            added.add_argument("--nan", type=float, help="value that replaces NaN voxels")
            added.add_argument("--quiet", dest="progress", action="store_false", help="no progress bar")
        if model:
            added.add_argument("--model", default=DEFAULT_MODEL, help="registered name, folder or hub id (%(default)s)")
        return added

    command("models", _models, "list the registered models")
    info = command("info", _info, "what a model is, what it expects, and where it comes from")
    info.add_argument("model", metavar="NAME", help="registered name, folder or hub id")
    embed = command("embed", _embed, "one feature vector of a whole scan", model=True, scan=True)
    embed.add_argument("--out", help=".npy file; absent: print the numbers")
    restore = command("restore", _restore, "hide a box of some cubes and restore them", model=True, scan=True)
    restore.add_argument("--out", default="restored.png", help="PNG of input, corrupted, restored (%(default)s)")
    restore.add_argument("--cubes", type=_positive, default=6, help="number of cubes (%(default)s)")
    restore.add_argument("--seed", type=int, default=0, help="of places and noise (%(default)s)")
    segment = command("segment", _segment, "label map of a scan, with fine-tuned weights", model=True, scan=True)
    segment.add_argument("--out", default="labels.nii.gz", help="label map that overlays the scan (%(default)s)")
    segment.add_argument("--overlap", type=float, default=0.5, help="of neighbouring windows (%(default)s)")
    segment.add_argument("--picture", help="PNG of the slices with the most labels")
    preprocess = command("preprocess", _preprocess, "what the network gets to see of a scan", model=True, scan=True)
    preprocess.add_argument("--out", help=".npy file of the array (1, C, X, Y, Z)")
    preprocess.add_argument("--picture", help="PNG of some slices")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
