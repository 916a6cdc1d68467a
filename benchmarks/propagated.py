"""How good labels are that `sg_hub.propagate` carries from one patient, and from three that vote, to test patients.

    python -m benchmarks.propagated --data data --weights dense-contrast-3d-tiny random:dense-contrast-3d-tiny

Of a target with label maps: the labelled patients are drawn from its train part, as `sg-hub worth` draws them for its
probes (of each draw the first alone, and all three), and every class is measured on the grid of the files. Prints a
table in Markdown. A random network has the statistics of clean patches, as in `sg-hub worth`.
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from tqdm import tqdm

import sg_hub
from sg_hub.io.labels import load_labels
from training.targets import Item, load_target
from training.targets.label_maps import LabelMapTarget
from training.trials.task.metrics import overlap
from training.worth.data import Data
from training.worth.measures.probes import LABELLED, draws
from training.worth.networks import contenders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--target", default="openkbp-head-neck", help="of label maps (%(default)s)")
    parser.add_argument("--data", type=Path, help="folder that stands for data/")
    parser.add_argument("--weights", nargs="+", default=["dense-contrast-3d-tiny", "random:dense-contrast-3d-tiny"])
    parser.add_argument("--patients", type=int, default=12, help="test patients (%(default)s)")
    parser.add_argument("--draws", type=int, default=3, help="of the labelled patients (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = contenders(options.weights, 1, False)
    task = load_target(options.target, [], options.data, [one.start.config["preprocessing"] for one in found])
    assert isinstance(task, LabelMapTarget), f"{options.target} has no label maps"
    print(f"| weights | labelled patients | {' | '.join(task.classes)} | mean IoU |", flush=True)
    print(f"|{'---|' * (len(task.classes) + 3)}", flush=True)
    for contender in found:
        with TemporaryDirectory() as folder:
            data = Data(task, contender, Path(folder), others=[one.start for one in found], progress=False)
            model = contender.network(data.patches(data.target.patch), torch.device("cpu"))
            test = [item for item in data.parts["test"] if item.patient not in task.doubtful][: options.patients]
            iou: dict[int, list[list[float]]] = defaultdict(list)
            labelled = draws(data, LABELLED, options.draws)
            for items, item in tqdm([*itertools.product(labelled, test)], contender.name, unit="scan"):
                other, truth = read(task, item)
                for count in (1, len(items)):
                    scans, labels = zip(*(read(task, one) for one in items[:count]), strict=True)
                    carried = sg_hub.propagate(model, list(scans), list(labels), other, progress=False)
                    iou[count].append(overlap(carried, truth, len(task.classes))[0])
        for count, values in iou.items():
            classes = np.nanmean(values, axis=0)
            row = " | ".join(f"{value:.3f}" for value in (*classes, classes.mean()))
            print(f"| {contender.name} | {count} | {row} |", flush=True)


def read(task: LabelMapTarget, item: Item) -> tuple[sg_hub.Scan, np.ndarray]:
    """A scan and its class numbers, on its own grid."""
    scan = sg_hub.load_scan(item.image)
    return scan, task.class_numbers(load_labels(str(item.label)).array[0], item.name)


if __name__ == "__main__":
    main()
