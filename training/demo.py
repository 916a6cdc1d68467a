"""The main job from end to end on the embedded samples: `make demo`.

First with the weights that ship: read a CT, embed it, restore corrupted cubes. Then the training at a very small scale:
prepare, autoencode, discover, pre-train, evaluate, publish; and the result loaded like any other model.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import sg_hub
from sg_hub.cli import main as sg_hub_command
from training.__main__ import main as training_command

SAMPLES = Path(__file__).parent.parent / "tests" / "samples" / "openkbp"
OUT = Path("demo")


def main() -> int:
    started = time.monotonic()
    OUT.mkdir(exist_ok=True)
    scan = str(SAMPLES / "ct" / "pt_201.nii.gz")
    print("1. A real CT, and what it is")
    print(sg_hub.load_scan(scan))
    steps = [
        ("2. The weights that ship", ["models"]),
        ("3. The scan as one feature vector", ["embed", scan, "--out", str(OUT / "features.npy")]),
        ("4. Corrupted cubes, restored", ["restore", scan, "--out", str(OUT / "restored.png")]),
    ]
    for title, arguments in steps:
        print(f"\n{title}\n$ sg-hub {' '.join(arguments)}", flush=True)
        if code := sg_hub_command(arguments):
            return code
    cards = OUT / "model_cards"
    print("\n5. The whole training, at a very small scale, on twelve patients", flush=True)
    arguments = ["regenerate", "demo", f"source={SAMPLES / 'ct'}", f"run={OUT / 'run'}", "--cards", str(cards)]
    print(f"$ python -m training {' '.join(arguments)}", flush=True)
    if code := training_command(arguments):
        return code
    print("\n6. The published model, loaded like any other")
    model = sg_hub.from_pretrained(cards / "demo", head="segmentation", num_classes=2)
    print(model.load_report)
    print(f"\nDone in {time.monotonic() - started:.0f} s. Look at:")
    for picture in sorted(OUT.rglob("*.png")):
        print(f"  {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
