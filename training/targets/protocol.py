"""The protocol of a target task: a reader says which items a data set has, and what one holds; a TOML says the rest.

A reader is a class of one file: `find` (which items there are, from tables and file names alone) and `load` (one of
them as arrays). Files in `readers` are found by their names; another package adds its own through the entry point group
`sg_hub.readers`. A target is a TOML file that names a reader and gives its settings, and those of the task.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt, PrivateAttr, model_validator

from sg_hub import ImagePreprocessing, Preprocessing
from sg_hub.errors import InvalidInputError, ReadError

from ..data.identity import image_hashes
from ..run.settings import Name, Section
from .defaults import AnyPreprocessing
from .items import Found, Item, LoadedItem
from .sections import Grid, Settings, Splits
from .sides import check_sides, mirrored
from .splits import draw_split

Head = Literal["classification", "segmentation"]
MOST_CLASSES = 255
"""Beside the background: class numbers are bytes."""
Metric = Literal["auc", "iou", "dice"]


class Target(Section):
    """A target task. A reader is a subclass: `find`, `load`, and settings of its own as further fields."""

    DATA_NDIM: ClassVar[int] = 3
    """Of what `load` gives; a 3D data set with `ndim = 2` is used slice by slice."""
    WHOLE_SCANS: ClassVar[bool] = False
    """Whether a 3D item is a scan as a whole; else a cube that was cut out of one."""
    INDEPENDENT: ClassVar[frozenset[str]] = frozenset(
        {"title", "code", "description", "root", "settings", "splits", "metric", "ndim", "name"}
        | {"exclude", "doubtful", "mirror_pairs", "min_positives"}
    )
    """Fields that do not change what `load` gives."""

    reader: str = Field(examples=["folder"])
    """What reads the data set: `folder` for a folder of your own, or a file of training/targets/readers."""
    name: Name = Field(examples=["liver"])
    """Of the target, in one word: results are kept under it."""
    code: str = ""
    """As in the paper's Table 1, where the task is the same; or of the task that it stands in for."""
    title: str = Field(examples=["liver in abdominal CT"])
    """What the task is, for the card and the report."""
    dataset: str = Field(examples=["my-hospital"])
    """Short name of the data set: patients of the same name in it are the same."""
    description: str = ""
    """What a reader of the results must know: source, limits."""
    root: str = Field(examples=["data/liver"])
    """Folder (or file) of the data, as it was downloaded."""
    ndim: Literal[2, 3] = 3
    """Of the network."""
    channels: PositiveInt = 1
    """Of the images: 1 grey, 3 colour; or as many as there are sequences."""
    head: Head = Field(examples=["segmentation"])
    """What is asked of the network: a class for every voxel, or for the whole item."""
    classes: tuple[str, ...] = Field(examples=[["liver", "tumour"]])
    """Segmentation: all but the background. Classification: the classes, or the findings."""
    exclusive: bool = True
    """Classification: one class per item; else any number of findings."""
    min_positives: PositiveInt = 1
    """Findings with fewer positives in the test part get no AUC; in the validation part a third of it is enough."""
    metric: Metric = Field(examples=["dice"])
    """The one that results are compared by."""
    exclude: tuple[str, ...] = Field(default=(), examples=[["case_07"]])
    """Names of items that are left out."""
    doubtful: dict[str, str] = Field(default={}, examples=[{"case_12": "the left side is not outlined"}])
    """Items whose reference is known to be wrong, and why. They stay in, and results are given without them as well."""
    mirror_pairs: tuple[tuple[str, str], ...] = Field(default=(), examples=[[["left kidney", "right kidney"]]])
    """Classes of the two sides of the body, which change places when an item is mirrored along x."""
    grid: Grid = Grid()
    splits: Splits = Splits()
    settings: Settings = Settings()

    _file: str = PrivateAttr("")
    """The TOML that it was read from, for messages."""
    _taken: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def voxel(self) -> tuple[float, ...] | None:
        """mm along each axis of what is predicted; None where that is not the same in all items, or not known."""
        return self.grid.spacing if self.data_ndim == 3 and self.grid.size is None else None

    @property
    def from_weights(self) -> dict[str, Any]:
        """By key, what its file does not say, and is as the weights expect it."""
        return self._taken

    @classmethod
    def completed(
        cls, values: dict[str, Any], weights: Sequence[AnyPreprocessing]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The values of a TOML with what they leave out, where that follows from the files or from the weights.

        Args:
            weights: preprocessing of the initialisations, in their order.

        Returns:
            the values, and what of them is as the weights expect it, by key. A reader whose data sets are described
            in full changes nothing.
        """
        return values, {}

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
        if self.grid.intensity != "window" and self.data_ndim == 3 and not self.WHOLE_SCANS:
            raise ValueError("grid.intensity: cubes are cut out of their scans first, and need a window")
        if self.head == "segmentation" and len(self.classes) > MOST_CLASSES:
            raise ValueError(f"classes: {len(self.classes)} of them; a label map holds {MOST_CLASSES} at most")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes: {list(self.classes)} has a name twice")
        if self.head == "classification" and "scan" in self.classes:
            raise ValueError("classes: 'scan' is a column of the tables of results; call the class otherwise")
        check_sides(self.classes, self.mirror_pairs, "x" in self.settings.mirror)
        _ = self.grid.of_scans() if self.data_ndim == 3 else self.grid.of_pictures(self.grid.size or (1, 1))
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

    @property
    def class_names(self) -> tuple[str, ...]:
        """One per output of the network."""
        return ("background", *self.classes) if self.head == "segmentation" else self.classes

    @property
    def mirrored_classes(self) -> tuple[int, ...]:
        """What becomes of each output's class when an item is mirrored along x."""
        return mirrored(self.class_names, self.mirror_pairs)

    def preprocessing(self, modality: str) -> Preprocessing | ImagePreprocessing:
        """How a network that was trained on the target takes new images.

        Args:
            modality: of the weights that it started from, for pictures.

        Raises:
            InvalidInputError: what the training did cannot be done to a new image as a whole.
        """
        if self.sliced:
            raise InvalidInputError(
                f"target {self.name}: a 2D network on the slices of 3D data can be benchmarked, not saved as a model "
                "for new scans: use a 3D network (ndim = 3)"
            )
        if self.ndim == 2:
            if self.grid.size is None:
                raise InvalidInputError(
                    f"target {self.name}: give grid.size = [rows, columns], to which new images are fitted"
                )
            return dataclasses.replace(self.grid.of_pictures(self.grid.size), modality=modality)
        x, y, z = self.patch
        whole = dataclasses.replace(self.grid.of_scans(), input_size=(x, y, z))
        return whole if self.WHOLE_SCANS else dataclasses.replace(whole, size=None)

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

    def image_hashes(self, item: Item) -> tuple[str, ...]:
        """What the image of an item is known by, whatever the data set is called; none where that cannot be told.

        Raises:
            ReadError, InvalidInputError: it cannot be read.
        """
        return image_hashes(item.image, self.data_ndim)

    def split_items(self, seen: Collection[str] = ()) -> Found:
        """Every item with its part: official, of the CSV in `splits.file`, or drawn by patient.

        Args:
            seen: hashes of the patients whom the initialisations were pre-trained on, for `splits.pretrained`.

        Raises:
            InvalidInputError: two items of one name, a patient in two parts, an empty part, or an item in `exclude`
                that is not there.
            ReadError: see `find`.
        """
        found = self.find()
        names = [item.name for item in found.items]
        known = {*names, *found.skipped}
        unknown = sorted(set(self.exclude) - known)
        if unknown:
            raise InvalidInputError(f"target {self.name}: exclude: there is no item {unknown[0]!r}")
        if len(set(names)) < len(names):
            double = min(name for name in set(names) if names.count(name) > 1)
            raise InvalidInputError(
                f"target {self.name}: two items are called {double!r}, and names must be unique: leave one of the two "
                "(of its rows, where a table lists the items)"
            )
        found.skipped |= dict.fromkeys(set(self.doubtful) - known, "named in doubtful, and not there")
        found.skipped |= dict.fromkeys(self.exclude, "in exclude")
        found.items = sorted(
            (item for item in found.items if item.name not in self.exclude), key=lambda item: item.name
        )
        return draw_split(self, found, seen if self.splits.pretrained == "train" else ())

    def folder(self) -> Path:
        """The root, where it is there.

        Raises:
            ReadError: saying what is expected there.
        """
        path = Path(self.root).expanduser()
        if not path.exists():
            raise ReadError(
                f"target {self.name}{f' ({self._file})' if self._file else ''}: {path} is not there (in {Path.cwd()}); "
                f"give root=FOLDER of {self.dataset} as it is downloaded"
            )
        return path

    def grid_key(self) -> str:
        """A hash of everything that determines what `load` gives."""
        settings = self.model_dump(mode="json", exclude=set(self.INDEPENDENT))
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
