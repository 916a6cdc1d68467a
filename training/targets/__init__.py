"""Target tasks: what the data looks like on disk, how cases are split, and the settings of fine-tuning.

One TOML file each; `load_target` reads it. The settings of a target are the same for every initialisation.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from sg_hub.errors import ReadError
from training.recipe import Section, Size, Split, load_settings
from training.sources import SUFFIXES


class Settings(Section):
    """How a trial is trained."""

    steps: PositiveInt = 400
    batch_size: PositiveInt = 8
    patch: Size = (32, 32, 16)
    lr: float = Field(default=2e-3, gt=0)
    body_lr_factor: float = Field(default=1.0, ge=0)
    """Learning rate of all layers but the last, as a share of lr, for every initialisation."""
    background_weight: float = Field(default=0.1, ge=0)
    """Weight of the background in the cross-entropy: small organs are found many steps sooner than with 1."""
    mirror: bool = False
    """Mirror half of the cubes along x: only where no class is of one side of the body."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    validate_every: PositiveInt = 100
    precision: Literal["float32", "bfloat16"] = "bfloat16"


class Target(Section):
    """Segmentation of scans with label maps of the same file names."""

    name: str
    title: str
    dataset: str
    """Name of the data set: patients of the same name in it are the same."""
    images: str
    labels: str
    split: str
    """CSV with the columns patient and split."""
    split_names: dict[str, Split]
    train_patients: int = Field(ge=1)
    validation_patients: int = Field(ge=1)
    classes: dict[str, int]
    settings: Settings = Settings()

    def patients(self, split: str) -> list[str]:
        """Names of a split's patients that have an image and a label map, sorted."""
        path = Path(self.split)
        if not path.is_file():
            raise ReadError(f"target {self.name}: its split {path} is not there")
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not {"patient", "split"} <= set(reader.fieldnames or ()):
                raise ReadError(f"{path}: expected the columns patient and split, found {reader.fieldnames}")
            names = [row["patient"] for row in reader if self.split_names.get(row["split"]) == split]
        return sorted(n for n in names if find(self.images, n) and find(self.labels, n))


def find(folder: str, patient: str) -> Path | None:
    """The file of a patient in a folder, whatever its format."""
    for suffix in SUFFIXES:
        path = Path(folder) / f"{patient}{suffix}"
        if path.is_file():
            return path
    return None


def load_target(target: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Target:
    """Read a target by file or shipped name, with `key=value` overrides as for recipes.

    Raises:
        InvalidInputError: no such target, broken TOML, an unknown key or a value of the wrong kind.
    """
    return load_settings(Target, "targets", target, overrides)
