"""The protocol of a target task: how its items are found on disk, split and read, and how a trial trains on them.

A target is a TOML file: `reader` names the class below `training.targets` that knows a data set as it is downloaded,
and everything else is a setting of it. A reader says only two things: which items there are (`find`, from tables and
file names alone), and what one item holds (`load`).
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.preprocessing.scan_preprocessing import Preprocessing

from ..run.recipe import Split
from ..run.settings import Section
from .splits import draw_split

Head = Literal["classification", "segmentation"]
Metric = Literal["auc", "iou", "dice"]
Share = Annotated[float, Field(ge=0, lt=1)]
Sides = tuple[PositiveInt, ...]


class Grid(Section):
    """How an item becomes what the network takes: the same for every initialisation."""

    intensity: Literal["window", "percentile"] = "window"
    low: float = -1000.0
    high: float = 1000.0
    """What becomes 0 and 1: values of the scan (HU), or percentiles. Images in grey levels ignore it."""
    spacing: tuple[float, float, float] | None = None
    """Voxels (x, y, z) in mm that scans are resampled to; absent: each keeps its own."""
    size: Sides | None = None
    """Voxels (x, y, z) or pixels (rows, columns) of an item; absent: each scan as large as it is."""

    def preprocessing(self) -> Preprocessing:
        """How a whole scan becomes what the network takes."""
        modality = "CT" if self.intensity == "window" else "MR"
        x, y, z = self.size if self.size is not None and len(self.size) == 3 else (None, None, None)
        size = (x, y, z) if x and y and z else None
        return Preprocessing(modality, self.intensity, self.low, self.high, self.spacing, size=size)


class Splits(Section):
    """Who is trained, validated and tested on, where the data set does not say it."""

    seed: int = 0
    validation: Share = 0.15
    """Share of the patients that are not tested on."""
    test: Share = 0.3
    """Share of all patients, where there is no official test part."""
    file: str | None = None
    """CSV with the columns patient and split (train, validation, test), which comes before everything else."""


class Settings(Section):
    """How a trial is trained: the same for every initialisation, chosen on validation patients."""

    steps: PositiveInt = 400
    batch_size: PositiveInt = 8
    patch: Sides | None = None
    """Voxels that the network sees at once; absent: a whole item (grid.size)."""
    lr: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    body_lr_factor: float = Field(default=1.0, ge=0)
    """Learning rate of all layers but the last, as a share of lr, for every initialisation."""
    background_weight: float = Field(default=1.0, ge=0)
    """Segmentation: weight of the background in the cross-entropy. With 0.1, small organs are found many steps
    sooner."""
    balanced: bool = False
    """Classification: every class is drawn equally often."""
    mirror: str = Field(default="", pattern="^[xyz]*$")
    """Axes along which half of the items are mirrored (2D: x is left and right, y up and down)."""
    shift: int = Field(default=0, ge=0)
    """Largest random shift along every axis but z, in voxels; what moves in is the border again."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    validate_every: PositiveInt = 100
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    slices: PositiveInt = 3
    """Classification of axial slices: how many around the middle stand for an item."""


@dataclass(frozen=True)
class Item:
    """One image with its label, not read yet."""

    name: str
    """Unique within the target."""
    patient: str
    image: str
    """File or folder; several items may lie in one."""
    label: int | tuple[int, ...] | str | None = None
    """Class number; one 0 or 1 per finding; or the file of the mask."""
    place: tuple[Any, ...] = ()
    """Where in the file the item is: an index, world coordinates."""
    split: Split | None = None
    """Absent where the data set has no official one."""
    also: tuple[str, ...] = ()
    """The patient in other data sets, as DATASET/NAME: LUNA16's scans are LIDC-IDRI's."""


@dataclass(frozen=True)
class LoadedItem:
    """An item as arrays."""

    image: np.ndarray
    """(C, X, Y, Z) or (C, H, W) float in 0..1."""
    label: np.ndarray
    """Segmentation: (X, Y, Z) or (H, W) uint8, 0 is background, i the class number i. Classification: () class
    number, or (findings,) of 0 and 1."""


@dataclass
class Found:
    """What a reader found on disk."""

    items: list[Item] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Item, or file, and why it is left out."""


class Target(Section):
    """A target task. Subclasses read one data set each."""

    DATA_NDIM: ClassVar[int] = 3
    """Of what `load` gives; a 3D data set with `ndim = 2` is used slice by slice."""
    WHOLE_SCANS: ClassVar[bool] = False
    """Whether a 3D item is a scan as a whole; else a cube that was cut out of one."""
    INDEPENDENT: ClassVar[frozenset[str]] = frozenset(
        {"title", "code", "description", "root", "settings", "splits", "metric", "ndim", "name"}
    )
    """Fields that do not change what `load` gives."""

    reader: str
    name: str
    code: str = ""
    """As in the paper's Table 1, where the task is the same; or of the task that it stands in for."""
    title: str
    dataset: str
    """Short name of the data set: patients of the same name in it are the same."""
    description: str = ""
    """What a reader of the results must know: source, limits."""
    root: str
    """Folder (or file) of the data, as it was downloaded."""
    ndim: Literal[2, 3] = 3
    """Of the network."""
    channels: PositiveInt = 1
    head: Head
    classes: tuple[str, ...]
    """Segmentation: all but the background. Classification: the classes, or the findings."""
    exclusive: bool = True
    """Classification: one class per item; else any number of findings."""
    min_positives: PositiveInt = 1
    """Findings with fewer positives in the test part get no AUC; in the validation part a third of it is enough."""
    metric: Metric
    """The one that results are compared by."""
    exclude: tuple[str, ...] = ()
    """Names of items that are left out, such as those with a wrong label."""
    grid: Grid = Grid()
    splits: Splits = Splits()
    settings: Settings = Settings()

    @model_validator(mode="after")
    def _fits_together(self) -> Target:
        if self.ndim > self.data_ndim:
            raise ValueError(f"ndim = {self.ndim}: the data are {self.data_ndim}D")
        if (self.metric == "auc") != (self.head == "classification"):
            raise ValueError(f"metric = {self.metric!r} does not go with head = {self.head!r}")
        if self.head == "classification" and self.exclusive and len(self.classes) < 2:
            raise ValueError("classes: a classification needs at least two, or exclusive = false")
        if self.head == "classification" and self.grid.size is None:
            raise ValueError("grid.size: a classification needs items of one size")
        for name, sides, count in (
            ("grid.size", self.grid.size, self.data_ndim),
            ("settings.patch", self.settings.patch, self.ndim),
        ):
            if sides is not None and len(sides) != count:
                raise ValueError(f"{name} = {list(sides)}: expected {count} numbers")
        if self.grid.size is None and self.settings.patch is None:
            raise ValueError("settings.patch: needed where grid.size is absent")
        return self

    @property
    def data_ndim(self) -> int:
        return self.DATA_NDIM

    @property
    def sliced(self) -> bool:
        """Whether a 2D network works on the axial slices of 3D data."""
        return self.ndim < self.data_ndim

    @property
    def num_classes(self) -> int:
        """Outputs of the network."""
        return len(self.classes) + (self.head == "segmentation")

    @property
    def patch(self) -> tuple[int, ...]:
        """Voxels (x, y, z), or pixels (rows, columns), that the network sees at once."""
        size = self.settings.patch or self.grid.size
        assert size is not None
        if self.ndim == 2 and len(size) == 3:
            return size[1], size[0]
        return size

    @abstractmethod
    def find(self) -> Found:
        """Every item that is on disk, from tables and names; images are not decoded.

        Raises:
            ReadError: the folder, or a table, is missing or damaged.
            InvalidInputError: what is there does not fit together.
        """

    @abstractmethod
    def load(self, item: Item) -> LoadedItem:
        """Read one item.

        Raises:
            ReadError, InvalidInputError: naming the file.
        """

    def split_items(self) -> Found:
        """Every item with its part: official, of the CSV in `splits.file`, or drawn by patient.

        Raises:
            InvalidInputError: two items of one name, a patient in two parts, an empty part, or an item in `exclude`
                that is not there.
            ReadError: see `find`.
        """
        found = self.find()
        unknown = sorted(set(self.exclude) - {item.name for item in found.items} - set(found.skipped))
        if unknown:
            raise InvalidInputError(f"target {self.name}: exclude: there is no item {unknown[0]!r}")
        found.skipped |= dict.fromkeys(self.exclude, "in exclude")
        found.items = [item for item in found.items if item.name not in self.exclude]
        names = [item.name for item in found.items]
        double = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
        if double:
            raise InvalidInputError(f"target {self.name}: two items are called {min(double)!r}; names must be unique")
        items = draw_split(self, found.items, found.skipped)
        return Found(sorted(items, key=lambda item: item.name), found.skipped)

    def folder(self) -> Path:
        """The root, where it is there.

        Raises:
            ReadError: saying what is expected there.
        """
        path = Path(self.root).expanduser()
        if not path.exists():
            raise ReadError(
                f"target {self.name}: {path} is not there (in {Path.cwd()}); give root=FOLDER of {self.dataset} as it "
                "is downloaded"
            )
        return path

    def grid_key(self) -> str:
        """A hash of everything that determines what `load` gives."""
        settings = self.model_dump(mode="json", exclude=set(self.INDEPENDENT))
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def in_parts(items: list[Item]) -> dict[str, list[Item]]:
    """Items by part, all three of them."""
    return {part: [item for item in items if item.split == part] for part in ("train", "validation", "test")}


def identities(target: Target, items: list[Item]) -> dict[str, list[str]]:
    """Patients by part, each as DATASET/NAME, with what they are called in other data sets."""
    parts: Mapping[str, list[Item]] = in_parts(items)
    return {
        part: sorted({name for item in found for name in (f"{target.dataset}/{item.patient}", *item.also)})
        for part, found in parts.items()
    }
