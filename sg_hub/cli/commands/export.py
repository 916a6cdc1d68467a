"""sg-hub export: a network as an ONNX file, with how far onnxruntime is from it; or for MONAI, or nnU-Net."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sg_hub.cli.inputs import load_model
from sg_hub.errors import InvalidInputError
from sg_hub.io.files import check_output
from sg_hub.models import PretrainedModel


def run(options: argparse.Namespace) -> None:
    if options.onnx is None and (options.size or options.embedding):
        raise InvalidInputError("--size and --embedding are for --onnx: leave them out")
    if options.onnx is not None:
        check_output(options.onnx, (".onnx",))
    head, classes = options.head, options.num_classes
    if options.nnunet is not None and head is None:
        head, classes = (
            "segmentation",
            2 if classes is None else classes,
        )  # the data set's own, which nnU-Net starts afresh
    model = load_model(options, head=head, num_classes=classes, in_chans=options.in_chans, norm=options.norm)
    if options.onnx is not None:
        _onnx(model, options)
    elif options.bundle is not None:
        from sg_hub.interop.monai_bundle import export_bundle

        _say_reset(model)
        print(export_bundle(model, options.bundle))
    else:
        _nnunet(model, options.nnunet)


def _onnx(model: PretrainedModel, options: argparse.Namespace) -> None:
    from sg_hub.interop.onnx import export_onnx

    difference = export_onnx(model, options.onnx, size=options.size, embedding=options.embedding)
    if not options.embedding:
        _say_reset(model)
    if difference is None:
        print("not checked: onnxruntime is not installed (pip install 'sg_hub[onnx]')", file=sys.stderr)
    else:
        print(f"largest difference from onnxruntime: {difference:.2g}")
    size = " x ".join(map(str, options.size)) if options.size else f"multiples of {model.encoder.strides[-1]}"
    what = "embedding" if options.embedding else f"head {model.head_name}"
    print(f"input (N, {model.in_chans}, size) in 0..1, size {size}; {what}")
    print(options.onnx)


def _nnunet(model: PretrainedModel, folder: str) -> None:
    from sg_hub.interop.nnunet import CONFIGURATION, PLANS, export_nnunet

    plans, weights = export_nnunet(model, folder)
    number = Path(folder).resolve().name.removeprefix("Dataset").partition("_")[0].lstrip("0")
    print(plans, weights, sep="\n")
    print(f"nnUNetv2_preprocess -d {number} -plans_name {PLANS} -c {CONFIGURATION}")
    print(f"nnUNetv2_train {number} {CONFIGURATION} 0 -p {PLANS} -pretrained_weights {weights}")


def _say_reset(model: PretrainedModel) -> None:
    reset = model.load_report.reset if model.load_report else []
    if reset:
        print(f"sg-hub: {len(reset)} tensors are at random ({', '.join(reset[:4])}): fine-tune first", file=sys.stderr)
