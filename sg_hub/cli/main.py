"""sg-hub: its options. Results on stdout, progress on stderr; a user's mistake exits with 2."""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from sg_hub import __version__
from sg_hub.cli import commands
from sg_hub.errors import SgHubError

DEFAULT_MODEL = "semantic-genesis-3d-tiny"
_MOST_CUBES = 32
_FORMATS = "DICOM folder, NIfTI, MHD/MHA or NRRD file; for 2D weights a DICOM, PNG, JPEG or TIFF image"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code (0 done, 2 a mistake in what was given, 130 stopped).

    Raises:
        SystemExit: help, the version, or (with 2) options that do not exist.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO if options.verbose else logging.WARNING)
    try:
        with warnings.catch_warnings():
            if not options.verbose:
                warnings.simplefilter("ignore")
            options.run(options)
        sys.stdout.flush()
    except SgHubError as error:
        _say(str(error))
        return 2
    except KeyboardInterrupt:
        _say("stopped; nothing was left half written")
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _say(message: str) -> None:
    print(f"sg-hub: error: {' '.join(message.split())}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Mistakes in one line instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        _say(f"{message}; see {self.prog} --help")
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sg-hub", description="Semantic Genesis weights on scans and images of your own.")
    parser.add_argument("--version", action="version", version=__version__)
    added = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        new = added.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        new.set_defaults(run=run)
        new.add_argument("--verbose", action="store_true", help="say what was loaded, and show warnings")
        return new

    command("models", commands.run_models, "list the registered models")
    info = command("info", commands.run_info, "say what a model is, what it expects, and where it comes from")
    info.add_argument("model", metavar="NAME", help="registered name, folder or hub id")

    convert = command("convert", commands.run_convert, "make a model folder of a published checkpoint")
    convert.add_argument(
        "file", metavar="FILE", help="semantic_genesis_chest_ct.pt, Genesis_Chest_CT.pt, or the Keras .h5 of the former"
    )
    convert.add_argument("out_dir", metavar="OUT_DIR", help="new folder, for from_pretrained and --model")
    convert.add_argument(
        "--norm",
        choices=("batch_stats", "batch"),
        default="batch_stats",
        help="statistics of the batch, as published, or the running ones (%(default)s)",
    )

    _add_export(command("export", commands.run_export, "write a network as an ONNX file, and check it"))

    embed = command("embed", commands.run_embed, "compute one feature vector per scan")
    embed.add_argument("scans", metavar="SCAN", nargs="+", help=f"{_FORMATS}; several are allowed")
    _add_scan_options(embed)
    embed.add_argument(
        "--out", metavar="FILE", help=".npy of (scans, features), or .csv; absent: CSV to standard output"
    )

    restore = command("restore", commands.run_restore, "hide a box of some cubes of a scan and restore them")
    restore.add_argument("scan", metavar="SCAN", help=_FORMATS)
    _add_scan_options(restore)
    restore.add_argument(
        "--out", metavar="PNG", default="restored.png", help="input, corrupted, restored (%(default)s)"
    )
    restore.add_argument(
        "--cubes",
        metavar="N",
        type=_cubes,
        default=6,
        help=f"number of cubes, 1 to {_MOST_CUBES} (%(default)s)",
    )
    restore.add_argument("--seed", metavar="N", type=_seed, default=0, help="of places and noise (%(default)s)")

    segment = command("segment", commands.run_segment, "write the label map of a scan, with fine-tuned weights")
    segment.add_argument("scan", metavar="SCAN", help=_FORMATS)
    _add_scan_options(segment)
    segment.add_argument(
        "--out",
        metavar="FILE",
        help="label map that overlays the scan (labels.nii.gz; of an image labels.png)",
    )
    segment.add_argument(
        "--overlap", metavar="SHARE", type=_share, help="of neighbouring windows (0.5); not for images"
    )
    segment.add_argument("--picture", metavar="PNG", help="the slices with the most labels")

    preprocess = command("preprocess", commands.run_preprocess, "show what the network gets to see of a scan")
    preprocess.add_argument("scan", metavar="SCAN", help=_FORMATS)
    _add_scan_options(preprocess)
    preprocess.add_argument("--out", metavar="NPY", help="the array (1, C, X, Y, Z) or (1, C, H, W)")
    preprocess.add_argument("--picture", metavar="PNG", help="some slices")
    return parser


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME", help="registered name, folder or hub id")
    parser.add_argument("--onnx", metavar="FILE", required=True, help="where to write it (.onnx)")
    parser.add_argument(
        "--size",
        metavar="N",
        type=_count,
        nargs="+",
        help="of the patch, X Y Z or H W; absent: any size that the largest stride divides",
    )
    parser.add_argument("--head", metavar="NAME", help="another head than the weights' own, as in from_pretrained")
    parser.add_argument("--num-classes", metavar="N", type=_count, help="of that head")
    parser.add_argument("--in-chans", metavar="N", type=_count, help="input channels; absent: those of the weights")
    parser.add_argument("--norm", metavar="NAME", help="batch_stats, batch or instance; absent: the weights' own")


def _add_scan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="registered name, folder or hub id (%(default)s)",
    )
    parser.add_argument("--series", metavar="UID", help="SeriesInstanceUID, where a DICOM folder holds several")
    parser.add_argument("--nan", metavar="VALUE", type=_number, help="replaces NaN and infinite voxels")
    parser.add_argument(
        "--bits", metavar="N", type=_bits, help="bit depth of an image, where its file has room for more"
    )
    parser.add_argument("--quiet", dest="progress", action="store_false", help="no progress bar")


def _bits(text: str) -> int:
    return _whole(text, 1, 32)


def _cubes(text: str) -> int:
    return _whole(text, 1, _MOST_CUBES)


def _count(text: str) -> int:
    return _whole(text, 1, 1 << 20)


def _seed(text: str) -> int:
    return _whole(text, 0, 2**63 - 1)


def _whole(text: str, low: int, high: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {low} to {high}")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number, such as -1000")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a share from 0 to below 1, such as 0.5")
    return value
