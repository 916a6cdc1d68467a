"""What can be given to sg-hub: all commands and their options. Nothing here imports torch."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from importlib import import_module

from sg_hub.cli.help import AddCommand, Commands, Format, Parser
from sg_hub.version import __version__

DEFAULT_MODEL = "semantic-genesis-3d-tiny"
LOCATING_MODEL = "dense-contrast-3d-tiny"
"""Finds places nearer to where they are (its card)."""
_MOST_CUBES = 32
_FORMATS = "DICOM folder, NIfTI, MHD/MHA or NRRD file; for 2D weights a DICOM, PNG, JPEG, TIFF or BMP image"

WEIGHTS, INPUTS = "Weights", "On scans and images of your own"
"""Headings of the commands."""


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands. It sets `run`, 'module:function' that takes the options."""
    parser = Parser(
        prog="sg-hub",
        usage="sg-hub [--help] [--version] COMMAND ...",
        formatter_class=Format,
    )
    parser.add_argument("--version", action="version", version=__version__)
    command = Commands(parser)
    _add_about_models(command)
    _add_on_inputs(command)
    missing = ""
    try:  # in a checkout they lie beside this package (see sg_hub.checkout), in the wheel within it
        import_module("sg_hub.training.cli.parser").add_commands(command)
    except ModuleNotFoundError as error:
        missing = f"The commands of training are not here ({error}).\n\n"
    parser.description = "Pretrained weights on scans and images of your own, and their making."
    parser.epilog = missing + command.describe()
    return parser


def _add_about_models(command: AddCommand) -> None:
    models = command(
        "models",
        "sg_hub.cli.commands.models:run",
        "list networks and weights: what each expects and costs",
        group=WEIGHTS,
        examples=["sg-hub models", "sg-hub models --json"],
    )
    _add_json(models, "one JSON object")
    models.add_argument("--markdown", action="store_true", help="the tables of docs/models.md")
    info = command(
        "info",
        "sg_hub.cli.commands.info:run",
        "say what a model is, what it expects, and where it comes from",
        group=WEIGHTS,
        examples=["sg-hub info semantic-genesis-3d-tiny", "sg-hub info ./my-model --json"],
    )
    info.add_argument("model", metavar="NAME", help="registered name, folder or hub id")
    _add_json(info, "one JSON object")

    convert = command(
        "convert",
        "sg_hub.cli.commands.convert:run",
        "make a model folder of a published checkpoint",
        group=WEIGHTS,
        examples=["sg-hub convert semantic_genesis_chest_ct.pt my-folder"],
    )
    convert.add_argument(
        "file", metavar="FILE", help="semantic_genesis_chest_ct.pt, Genesis_Chest_CT.pt, or the Keras .h5 of the former"
    )
    convert.add_argument("out_dir", metavar="OUT_DIR", help="new folder, for from_pretrained and --model")
    convert.add_argument(
        "--norm",
        metavar="NAME",
        help="statistics of the batch (batch_stats), or the running ones (batch); absent: as published",
    )

    export = command(
        "export",
        "sg_hub.cli.commands.export:run",
        "write a network as ONNX, a bundle of MONAI, or plans and weights of nnU-Net",
        group=WEIGHTS,
        examples=[
            "sg-hub export semantic-genesis-3d-tiny --onnx net.onnx --size 32 32 16",
            "sg-hub export ./my-model --bundle my-bundle",
            "sg-hub export semantic-genesis-3d-tiny --nnunet nnUNet_preprocessed/Dataset007_Liver",
        ],
    )
    export.add_argument("model", metavar="NAME", help="registered name, folder or hub id")
    into = export.add_mutually_exclusive_group(required=True)
    into.add_argument("--onnx", metavar="FILE", help="an ONNX file (.onnx), compared with onnxruntime")
    into.add_argument("--bundle", metavar="DIR", help="a bundle of MONAI, of a segmentation of scans")
    into.add_argument("--nnunet", metavar="DIR", help="plans and weights, into a planned data set of nnU-Net")
    export.add_argument(
        "--embedding", action="store_true", help="of ONNX: one vector, the mean of the encoder's deepest feature map"
    )
    export.add_argument(
        "--size",
        metavar="N",
        type=_whole(1, 1 << 20),
        nargs="+",
        help="of the ONNX patch, X Y Z or H W; absent: any size that the largest stride divides",
    )
    export.add_argument("--head", metavar="NAME", help="another head than the weights' own, as in from_pretrained")
    export.add_argument("--num-classes", metavar="N", type=_whole(1, 1 << 20), help="of that head")
    export.add_argument(
        "--in-chans", metavar="N", type=_whole(1, 1 << 20), help="input channels; absent: those of the weights"
    )
    export.add_argument("--norm", metavar="NAME", help="batch_stats, batch or instance; absent: the weights' own")


def _add_on_inputs(command: AddCommand) -> None:
    embed = command(
        "embed",
        "sg_hub.cli.commands.embed:run",
        "compute one feature vector per scan",
        group=INPUTS,
        examples=[
            "sg-hub embed ct.nii.gz --out features.npy",
            "sg-hub embed xrays/ --model semantic-genesis-2d-tiny --out features.csv",
        ],
    )
    _add_scans(embed)
    embed.add_argument(
        "--out",
        metavar="FILE",
        help=".csv, or .npy of (scans, features), where what failed is a row of NaN; absent: CSV to standard output",
    )
    _add_json(embed)

    restore = command(
        "restore",
        "sg_hub.cli.commands.restore:run",
        "hide a box of some cubes of a scan and restore them",
        group=INPUTS,
        examples=["sg-hub restore ct.nii.gz --out restored.png"],
    )
    _add_scans(restore, several=False)
    restore.add_argument(
        "--out", metavar="PNG", default="restored.png", help="input, corrupted, restored (%(default)s)"
    )
    restore.add_argument(
        "--cubes",
        metavar="N",
        type=_whole(1, _MOST_CUBES),
        default=6,
        help=f"number of cubes, 1 to {_MOST_CUBES} (%(default)s)",
    )
    restore.add_argument(
        "--seed", metavar="N", type=_whole(0, 2**63 - 1), default=0, help="of places and noise (%(default)s)"
    )

    segment = command(
        "segment",
        "sg_hub.cli.commands.segment:run",
        "write the label map of a scan, with fine-tuned weights",
        group=INPUTS,
        examples=[
            "sg-hub segment ct.nii.gz --model ./my-model --out labels.nii.gz --picture labels.png",
            "sg-hub segment scans/ --model ./my-model --out maps",
            "sg-hub segment dicom_folder/ --model ./my-model --out labels.dcm",
        ],
    )
    _add_scans(segment, finetuned="segmentation")
    segment.add_argument(
        "--out",
        metavar="FILE",
        help="label map that overlays the scan (labels.nii.gz; of an image labels.png; as DICOM-SEG .dcm); of several "
        "a folder (labels)",
    )
    segment.add_argument(
        "--dicom-seg",
        action="store_true",
        help="write DICOM segmentations, which refer to the slices of the DICOM series",
    )
    segment.add_argument(
        "--overlap", metavar="SHARE", type=_share, help="of neighbouring windows (0.5); not for images"
    )
    segment.add_argument("--picture", metavar="PNG", help="the slices with the most labels; of several a folder")
    _add_json(segment)

    classify = command(
        "classify",
        "sg_hub.cli.commands.classify:run",
        "say the probability of every class of a scan, with fine-tuned weights",
        group=INPUTS,
        examples=[
            "sg-hub classify xray.png --model ./my-findings",
            "sg-hub classify cubes/ --model ./my-classes --out classes.csv",
        ],
    )
    _add_scans(classify, finetuned="classification")
    classify.add_argument("--out", metavar="CSV", help="a row per scan; absent: to standard output")
    _add_json(classify)

    preprocess = command(
        "preprocess",
        "sg_hub.cli.commands.preprocess:run",
        "show what the network gets to see of a scan",
        group=INPUTS,
        examples=["sg-hub preprocess dicom_folder/ --picture seen.png"],
    )
    _add_scans(preprocess, several=False)
    preprocess.add_argument("--out", metavar="NPY", help="the array (1, C, X, Y, Z) or (1, C, H, W)")
    preprocess.add_argument("--picture", metavar="PNG", help="some slices")

    locate = command(
        "locate",
        "sg_hub.cli.commands.locate:run",
        "find the same places in other scans",
        group=INPUTS,
        examples=[
            "sg-hub locate a.nii.gz --at 12.5,-160,40 b.nii.gz c.nii.gz --picture places.png --out places.csv",
            "sg-hub locate a.nii.gz --voxel --at 60,40,25 b.nii.gz",
        ],
    )
    _add_scans(locate, several=False, model=LOCATING_MODEL)
    locate.add_argument("others", metavar="OTHER", nargs="+", help="scans that the places are looked for in")
    locate.add_argument(
        "--at",
        metavar="X,Y,Z",
        type=_place,
        action="append",
        required=True,
        help="a place in SCAN, in mm (x to the patient's left, y to posterior, z to superior); may be given again",
    )
    locate.add_argument("--voxel", action="store_true", help="places are voxels of the files, counted from 0")
    locate.add_argument("--picture", metavar="PNG", help="three planes through every place, in both scans")
    locate.add_argument("--out", metavar="CSV", help="a row per place; absent: to standard output")
    _add_json(locate, "a JSON object a place, one a line")
    locate._negative_number_matcher = re.compile(r"^-[\d.]")  # -12,3,4 is a place, no option

    propagate = command(
        "propagate",
        "sg_hub.cli.commands.propagate:run",
        "carry the labels of one scan, or of several, to another, without training",
        group=INPUTS,
        examples=[
            "sg-hub propagate a.nii.gz a-labels.nii.gz new.nii.gz --out labels.nii.gz --picture labels.png",
            "sg-hub propagate a.nii.gz a-labels.nii.gz new.nii.gz --also b.nii.gz b-labels.nii.gz",
        ],
    )
    _add_scans(propagate, several=False, model=LOCATING_MODEL)
    propagate.add_argument("labels", metavar="LABELS", help="label map of SCAN, on its grid")
    propagate.add_argument("other", metavar="OTHER", help="scan that gets the labels")
    propagate.add_argument(
        "--also",
        nargs=2,
        action="append",
        default=[],
        metavar=("SCAN", "LABELS"),
        help="a further labelled scan, with the same numbers: those in which a class is drawn vote on it",
    )
    propagate.add_argument("--out", metavar="FILE", default="labels.nii.gz", help="label map of OTHER (%(default)s)")
    propagate.add_argument("--picture", metavar="PNG", help="the slices with the most labels")

    view = command(
        "view",
        "sg_hub.cli.commands.view:run",
        "look at scans in a browser: slices, classes, the same place, nearest patients",
        group=INPUTS,
        examples=["sg-hub view --samples", "sg-hub view ct.nii.gz dicom_folder/ --segmenter ./my-model"],
    )
    _add_scans(view)
    view.add_argument("--segmenter", metavar="NAME", help="weights that were fine-tuned for segmentation, to be shown")
    view.add_argument("--samples", action="store_true", help="show the sample scans that come with the package")
    view.add_argument("--port", metavar="N", type=_whole(0, 65535), default=0, help="of the page; absent: a free one")
    view.add_argument("--no-browser", dest="browser", action="store_false", help="print the address, and open nothing")


def _add_scans(
    parser: argparse.ArgumentParser, several: bool = True, finetuned: str = "", model: str = DEFAULT_MODEL
) -> None:
    """What is read, by which model, and how.

    Args:
        finetuned: what the weights have to be fine-tuned for; empty: any will do, and there are usual ones.
        model: those.
    """
    if several:
        parser.add_argument(
            "scans", metavar="SCAN", nargs="*", help=f"{_FORMATS}; or several, or a folder that holds several"
        )
        parser.add_argument("--list", metavar="FILE", help="text with the path of one scan a line; -: standard input")
    else:
        parser.add_argument("scan", metavar="SCAN", help=_FORMATS)
    usual = f"weights fine-tuned for {finetuned}: " if finetuned else ""
    parser.add_argument(
        "--model",
        default=None if finetuned else model,
        required=bool(finetuned),
        metavar="NAME",
        help=f"{usual}registered name, folder or hub id{'' if finetuned else ' (%(default)s)'}",
    )
    parser.add_argument("--series", metavar="UID", help="SeriesInstanceUID, where a DICOM folder holds several")
    parser.add_argument("--nan", metavar="VALUE", type=_number, help="replaces NaN and infinite voxels")
    parser.add_argument(
        "--spacing",
        metavar=("X", "Y", "Z"),
        type=_length,
        nargs=3,
        help="mm between voxels along left, posterior, superior, where the file does not say it",
    )
    parser.add_argument(
        "--rescale",
        metavar=("SLOPE", "INTERCEPT"),
        type=_number,
        nargs=2,
        help="of the stored values, where DICOM files of CT or PET do not say it",
    )
    parser.add_argument(
        "--outside",
        action="store_const",
        const=True,
        help="an .mhd or .nhdr may name a file of voxels outside its own folder",
    )
    parser.add_argument(
        "--bits", metavar="N", type=_whole(1, 32), help="bit depth of an image, where its file has room for more"
    )
    parser.add_argument("--quiet", dest="progress", action="store_false", help="no progress bar")


def _add_json(parser: argparse.ArgumentParser, what: str = "a JSON object a scan, one a line, as they come") -> None:
    parser.add_argument("--json", action="store_true", help=f"{what}, to standard output")


def _whole(low: int, high: int) -> Callable[[str], int]:
    """Reads a whole number of a range."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {low} to {high}")
        return value

    return read


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number, such as -1000")
    return value


def _length(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a positive number of mm, such as 0.8")
    return value


def _place(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 3 or not all(math.isfinite(value) for value in values):
        raise argparse.ArgumentTypeError(f"{text!r}: expected three numbers with commas, such as 12.5,-160,40")
    return values


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a share from 0 to below 1, such as 0.5")
    return value
