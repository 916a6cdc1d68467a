"""sg-hub export: the network as an ONNX file, and how far onnxruntime is from it."""

from __future__ import annotations

import argparse
import sys

from sg_hub.cli.inputs import load_model
from sg_hub.interop.onnx import export_onnx
from sg_hub.io.files import check_output


def run(options: argparse.Namespace) -> None:
    check_output(options.onnx, (".onnx",))
    model = load_model(
        options, head=options.head, num_classes=options.num_classes, in_chans=options.in_chans, norm=options.norm
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
