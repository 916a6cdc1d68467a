"""The main job from end to end on the embedded samples: `make demo`.

First with the weights that ship: read a CT and an X-ray, embed them, restore corrupted cubes and patches. Then the
training at a very small scale, in 3D and in 2D: prepare, autoencode, discover, pre-train, evaluate, publish; and the
results loaded like any other model.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import sg_hub
from sg_hub.cli.main import main as sg_hub_command

from ..__main__ import main as training_command

SAMPLES = Path(__file__).parent / "samples"
OUT = Path("demo")


def main() -> int:
    started = time.monotonic()
    OUT.mkdir(exist_ok=True)
    scan = str(SAMPLES / "openkbp" / "ct" / "pt_201.nii.gz")
    image = str(min((SAMPLES / "chestxray14" / "images").glob("*.png")))
    print("1. A real CT and a real X-ray, and what they are")
    print(sg_hub.load_scan(scan))
    print(sg_hub.load_image(image))
    of_images = ["--model", "semantic-genesis-2d-tiny"]
    steps = [
        ("2. The weights that ship", ["models"]),
        ("3. The scan as one feature vector", ["embed", scan, "--out", str(OUT / "features.npy")]),
        ("4. Corrupted cubes, restored", ["restore", scan, "--out", str(OUT / "restored.png")]),
        ("5. Corrupted patches of the X-ray", ["restore", image, *of_images, "--out", str(OUT / "restored-2d.png")]),
    ]
    for title, arguments in steps:
        print(f"\n{title}\n$ sg-hub {' '.join(arguments)}", flush=True)
        if code := sg_hub_command(arguments):
            return code
    cards = OUT / "model_cards"
    print("\n6. The whole training, at a very small scale, on twelve CT and on twelve X-rays", flush=True)
    sources = {"demo": SAMPLES / "openkbp" / "ct", "demo-2d": SAMPLES / "chestxray14" / "images"}
    for recipe, source in sources.items():
        arguments = ["regenerate", recipe, f"source={source}", f"run={OUT / 'run' / recipe}", "--cards", str(cards)]
        print(f"$ python -m training {' '.join(arguments)}", flush=True)
        if code := training_command(arguments):
            return code
    print("\n7. The published models, loaded like any other")
    for recipe in sources:
        model = sg_hub.from_pretrained(cards / recipe, head="segmentation", num_classes=2)
        print(model.load_report)
    print(f"\nDone in {time.monotonic() - started:.0f} s. Look at:")
    for picture in sorted(OUT.rglob("*.png")):
        print(f"  {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
