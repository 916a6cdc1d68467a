"""How far onnxruntime is from every head, in 3D and 2D, for any size: python -m benchmarks.onnx_heads."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from sg_hub import SemanticGenesis2D, SemanticGenesis3D
from sg_hub.interop.onnx import export_onnx
from sg_hub.models.heads import HEADS


def main() -> None:
    """A line for each."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print("| network | head | largest difference |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in (*HEADS, "embedding"):
            head = "features" if name == "embedding" else name
            for ndim in (3, 2):
                torch.manual_seed(0)
                shared = {"head": head, "num_classes": 3} if HEADS[head].has_classes else {"head": head}
                model: SemanticGenesis3D | SemanticGenesis2D
                if ndim == 3:
                    model = SemanticGenesis3D(width=8, norm="batch", **shared)
                else:
                    model = SemanticGenesis2D(encoder="resnet18", decoder_width=8, **shared)
                difference = export_onnx(model, Path(folder) / "net.onnx", embedding=name == "embedding")
                print(f"| {ndim}D | {name} | {difference:.1e} |", flush=True)


if __name__ == "__main__":
    main()
