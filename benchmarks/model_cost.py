"""What registered networks cost on one core: parameters of the encoder, and processor time of a scan or an image.

    python -m benchmarks.model_cost [NAME ...]      writes sg_hub/models/costs.json, which `sg-hub models` shows

A network with the head of a segmentation of two classes runs once over a window of about 64 x 64 x 32 voxels (an image
of its own input size, in 2D) on one thread; the smallest processor time of three runs counts, so that other work on the
machine hardly matters. A scan is 256 x 256 x 128 voxels: 64 such windows without overlap. Weights of others are not
needed: the time is that of the same network with random weights.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import platform
import time
from pathlib import Path
from typing import Any

import torch

from sg_hub.conversion.planned import planned_network
from sg_hub.hub.registry import list_models
from sg_hub.io.files import write_atomic
from sg_hub.models.input_checks import nearest_size

FILE = Path(__file__).parent.parent / "sg_hub" / "models" / "costs.json"
WINDOW = (64, 64, 32)
SCAN = 256 * 256 * 128
WHAT = (
    "parameters: of the encoder; seconds: processor time on one core of a scan of 256 x 256 x 128 voxels, 64 windows "
    "without overlap, of which one was timed (2D: of an image of the network's input size), with a segmentation's head"
)
TIMM = ("timm:resnet18", "timm:resnet50", "timm:convnext_tiny", "timm:efficientnet_b0", "timm:vit_small_patch14_dinov2")


def segmenting(model: Any) -> Any:
    """The same network with random weights, and a segmentation's head."""
    config = {**model.config(), "preprocessing": model.preprocessing, "provenance": {}}
    return type(model)(**config | {"head": "segmentation", "num_classes": 2, "class_names": (), "multilabel": False})


def measure(model: Any) -> float:
    """Seconds of processor time of a scan, or an image."""
    ndim, strides = model.NDIM, model.encoder.strides[-1]
    size = nearest_size(WINDOW if ndim == 3 else model.preprocessing.input_size, strides)
    x = torch.rand(1, model.in_chans, *size)
    took = []
    with torch.inference_mode():
        for _ in range(3):
            start = time.process_time()
            model(x)
            took.append(time.process_time() - start)
    return min(took) * (SCAN / math.prod(size) if ndim == 3 else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar="NAME", nargs="*", help="absent: all that are registered, and some of timm")
    names = parser.parse_args().names or [*list_models(), *TIMM]
    torch.set_num_threads(1)
    known: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))["costs"] if FILE.exists() else {}
    for name in names:
        model = planned_network(name)
        parameters = sum(value.numel() for value in model.encoder.parameters())
        seconds = measure(segmenting(model).eval())
        known[name] = {"parameters": parameters, "seconds": float(f"{seconds:.2g}")}
        print(name, known[name], flush=True)
        origin = {
            "command": "python -m benchmarks.model_cost",
            "what": WHAT,
            "machine": f"{platform.machine()}, {_processor()}",
            "torch": torch.__version__,
            "date": datetime.date.today().isoformat(),
        }
        write_atomic(FILE, json.dumps({"measured": origin, "costs": dict(sorted(known.items()))}, indent=2) + "\n")


def _processor() -> str:
    """As the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
