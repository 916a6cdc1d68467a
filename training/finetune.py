"""One trial: a network fine-tuned for segmentation on a few patients, and what it does on the test patients.

The settings of a target are the same for every initialisation. The weights that do best on the validation patients
are kept; the test patients are read once, at the end.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

import sg_hub
from sg_hub import SemanticGenesis3D
from sg_hub.errors import InvalidInputError, ReadError
from training.distributed import to_device
from training.leakage import check_disjoint, check_unseen
from training.randomness import generator, rng
from training.targets import Target, find

RANDOM = "random"
"""Initialisation `random:NAME`: the architecture and preprocessing of NAME, and none of its weights."""
ENCODER = "encoder"
"""Initialisation `encoder:NAME`: the encoder of NAME with its weights, and a decoder that starts afresh."""


def name_of(init: str) -> str:
    """The weights that an initialisation names."""
    kind, _, name = init.partition(":")
    return name if kind in (RANDOM, ENCODER) else init


@dataclass(frozen=True)
class Case:
    """One labelled patient on the network's grid."""

    image: Tensor
    """(C, X, Y, Z) in 0..1."""
    label: Tensor
    """(X, Y, Z) uint8: 0 is background, i the target's class number i."""


class Cases:
    """The labelled patients of a target, read when they are asked for and kept."""

    def __init__(self, target: Target, preprocessing: sg_hub.Preprocessing) -> None:
        self.target, self.preprocessing = target, preprocessing
        self._read: dict[str, Case] = {}

    def __getitem__(self, patient: str) -> Case:
        if patient not in self._read:
            self._read[patient] = self._load(patient)
        return self._read[patient]

    def drawn(self, split: str) -> list[str]:
        """Patients of a split in whom every class was drawn."""
        names = self.target.patients(split)
        return [n for n in names if len(self[n].label.unique()) == len(self.target.classes) + 1]

    def _load(self, patient: str) -> Case:
        image, label = find(self.target.images, patient), find(self.target.labels, patient)
        if image is None or label is None:
            raise ReadError(f"target {self.target.name}: no image or no label map of patient {patient}")
        scan = sg_hub.load_scan(image)
        values = sg_hub.load_scan(label, labels=True)
        if values.array.shape[1:] != scan.array.shape[1:]:
            raise InvalidInputError(
                f"{label} has size {values.array.shape[1:]}, its image {scan.array.shape[1:]}: they must be the same"
            )
        x = self.preprocessing.apply(scan)[0]
        # The nearest voxel on the same edge-to-edge grid as Preprocessing.apply: labels are not averaged.
        resized = F.interpolate(torch.from_numpy(values.array[None]), x.shape[1:], mode="nearest-exact")[0, 0]
        numbers = torch.zeros(resized.shape, dtype=torch.uint8)
        for number, value in enumerate(self.target.classes.values(), 1):
            numbers[resized == value] = number
        return Case(x, numbers)


def initialise(init: str, target: Target, seed: int) -> SemanticGenesis3D:
    """The network of an initialisation: weights by name or folder, `random:NAME` or `encoder:NAME`."""
    torch.manual_seed(seed)
    classes = len(target.classes) + 1
    pretrained = SemanticGenesis3D.from_pretrained(name_of(init), head="segmentation", num_classes=classes)
    if name_of(init) == init:
        return pretrained
    torch.manual_seed(seed)
    provenance: dict[str, Any] = {} if init.startswith(RANDOM) else pretrained.provenance
    kept = {"preprocessing": pretrained.preprocessing, "provenance": provenance}
    model = SemanticGenesis3D(**(pretrained.config() | kept))
    if init.startswith(ENCODER):
        model.encoder.load_state_dict(pretrained.encoder.state_dict())
    return model


def run_trial(
    target: Target, init: str, seed: int, cases: Cases | None = None, *, progress: bool = True
) -> dict[str, Any]:
    """Fine-tune and test once.

    Returns:
        init, seed, patients of every part, IoU per class and their mean on the test patients, the validation curve
        as [step, mean IoU] and the training loss at the same steps, minutes.

    Raises:
        InvalidInputError: too few patients, or test patients that the weights were pre-trained on.
    """
    started = time.monotonic()
    model = initialise(init, target, seed)
    cases = cases or Cases(target, model.preprocessing)
    parts = split_patients(target, cases, seed)
    check_disjoint(parts)
    check_unseen(model.provenance, target.dataset, parts["test"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    to_device(model, device, 3)
    curve = _train(model, target, init, seed, cases, parts, progress)
    test = _score(model, target, cases, parts["test"], progress)
    return {
        "target": target.name,
        "init": init,
        "seed": seed,
        "train": parts["train"],
        "validation": parts["validation"],
        "test_patients": len(parts["test"]),
        "iou": {name: float(np.mean([case[name] for case in test.values()])) for name in target.classes},
        "iou_by_patient": test,
        "curve": curve,
        "minutes": round((time.monotonic() - started) / 60, 2),
    }


def split_patients(target: Target, cases: Cases, seed: int) -> dict[str, list[str]]:
    """Train and validation patients drawn by the seed; all test patients."""
    pool = cases.drawn("train")
    needed = target.train_patients + target.validation_patients
    test = cases.drawn("test")
    if len(pool) < needed or not test:
        raise InvalidInputError(
            f"target {target.name}: {len(pool)} train and {len(test)} test patients have every class drawn; "
            f"{needed} and at least 1 are needed"
        )
    order = rng("patients", seed).permutation(len(pool))[:needed]
    chosen = [pool[i] for i in order]
    return {
        "train": chosen[: target.train_patients],
        "validation": chosen[target.train_patients :],
        "test": test,
    }


def _train(
    model: SemanticGenesis3D,
    target: Target,
    init: str,
    seed: int,
    cases: Cases,
    parts: dict[str, list[str]],
    progress: bool,
) -> list[list[float]]:
    settings = target.settings
    optimizer = torch.optim.Adam(_parameter_groups(model, settings.lr, settings.body_lr_factor))
    warmup = max(1, int(settings.warmup * settings.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / warmup) * (1 - step / settings.steps) ** 0.9
    )
    device = next(model.parameters()).device
    train = [cases[name] for name in parts["train"]]
    noise = generator("cpu", "cubes", seed)
    best, best_state, curve = -1.0, copy.deepcopy(model.state_dict()), []
    losses: list[float] = []
    bar = tqdm(range(1, settings.steps + 1), desc=f"{init} seed {seed}", unit="step", disable=not progress, leave=False)
    for step in bar:
        model.train()
        x, y = sample_batch(train, settings.batch_size, settings.patch, len(target.classes), noise, settings.mirror)
        x = x.to(device).contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            logits = model(x)
        loss = dice_cross_entropy(logits.float(), y.to(device).long(), settings.background_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % settings.validate_every == 0 or step == settings.steps:
            scores = _score(model, target, cases, parts["validation"], False)
            mean = float(np.mean([value for case in scores.values() for value in case.values()]))
            curve.append([step, round(mean, 5), round(float(np.mean(losses)), 5)])
            losses = []
            bar.set_postfix(validation_iou=f"{mean:.3f}")
            if mean > best:
                best, best_state = mean, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    return curve


def _parameter_groups(model: SemanticGenesis3D, lr: float, factor: float) -> list[dict[str, Any]]:
    """The last layer, which is fresh in every initialisation, and all others: the same groups for all of them."""
    fresh = {name for name, _ in model.named_parameters() if name.startswith("segmentation.")}
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if n in fresh], "lr": lr},
        {"params": [p for n, p in named if n not in fresh], "lr": lr * factor},
    ]
    return [group for group in groups if group["params"]]


def sample_batch(
    cases: list[Case],
    batch_size: int,
    patch: tuple[int, ...],
    classes: int,
    noise: torch.Generator,
    mirror: bool = False,
) -> tuple[Tensor, Tensor]:
    """Cubes (N, C, *patch) and labels (N, *patch); every other cube is centred on a voxel of some class.

    With `mirror`, half of the cubes are mirrored along x. Cubes that reach beyond the scan are padded with 0 and
    background.
    """

    def draw(high: int) -> int:
        return int(torch.randint(high, (), generator=noise))

    images, labels = [], []
    for i in range(batch_size):
        case = cases[draw(len(cases))]
        shape = torch.tensor(case.label.shape)
        if i % 2 == 0:
            voxels = torch.nonzero(case.label == 1 + draw(classes))
            centre = voxels[draw(len(voxels))]
        else:
            centre = torch.stack([torch.tensor(draw(int(side))) for side in shape])
        size = torch.tensor(patch)
        corner = (centre - size // 2).minimum(shape - size).clamp(min=0)
        part = tuple(slice(int(c), int(c + s)) for c, s in zip(corner, size, strict=True))
        image, label = case.image[(slice(None), *part)], case.label[part]
        short = [int(s - have) for s, have in zip(size, label.shape, strict=True)]
        padding = [value for amount in reversed(short) for value in (0, amount)]
        image, label = F.pad(image, padding), F.pad(label, padding)
        if mirror and draw(2):
            image, label = image.flip(1), label.flip(0)
        images.append(image)
        labels.append(label)
    return torch.stack(images), torch.stack(labels)


def dice_cross_entropy(logits: Tensor, labels: Tensor, background_weight: float = 1.0) -> Tensor:
    """Cross-entropy plus one minus the mean soft Dice of the classes but the background.

    Args:
        logits: (N, classes, X, Y, Z); labels: (N, X, Y, Z) long.
        background_weight: of class 0 in the cross-entropy; the others weigh 1.
    """
    classes = logits.shape[1]
    truth = F.one_hot(labels, classes).movedim(-1, 1).float()[:, 1:]
    found = logits.softmax(1)[:, 1:]
    axes = (0, 2, 3, 4)
    dice = (2 * (found * truth).sum(axes) + 1) / (found.sum(axes) + truth.sum(axes) + 1)
    weight = torch.ones(classes, device=logits.device)
    weight[0] = background_weight
    return F.cross_entropy(logits, labels, weight) + 1 - dice.mean()


def _score(
    model: SemanticGenesis3D, target: Target, cases: Cases, patients: list[str], progress: bool
) -> dict[str, dict[str, float]]:
    """IoU of every class in every patient, on the network's grid. Every class is drawn in each, so no mask is empty."""
    scores = {}
    for name in tqdm(patients, desc="test patients", disable=not progress, leave=False):
        case = cases[name]
        with torch.autocast(
            next(model.parameters()).device.type, torch.bfloat16, enabled=target.settings.precision == "bfloat16"
        ):
            found = sg_hub.inference.sliding_window(
                model, case.image[None], patch_size=tuple(2 * side for side in target.settings.patch), overlap=0.25
            )
        labels = found[0].argmax(0)
        scores[name] = {
            organ: iou(labels == number, case.label == number) for number, organ in enumerate(target.classes, 1)
        }
    return scores


def iou(found: Tensor, truth: Tensor) -> float:
    """Intersection over union of two boolean masks; 1 where both are empty."""
    union = int((found | truth).sum())
    return 1.0 if union == 0 else int((found & truth).sum()) / union
