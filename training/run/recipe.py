"""A recipe: everything that determines a run, key by key. `recipe_file.py` reads one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sg_hub.io.files import given_path

from .settings import OR_OWN, Name, Section

Size = tuple[int, ...]
"""Voxels (x, y, z) of a scan, or pixels (rows, columns) of an image."""
Sides = tuple[PositiveInt, ...]
Border = Annotated[float, Field(ge=0, lt=0.5)]
Split = Literal["train", "validation", "test"]
TEXTS = ("licence", "dataset", "data_name", "data_licence", "data_citation", "limits", "saw")
"""Of [publish]: what is about the data."""
ABOUT = ("names", "patients", "images")
"""Keys of [publish] that say which data its texts are about."""


class Prepare(Section):
    """Scans to one store of resampled volumes, or images to one store of resized images."""

    spacing: Annotated[tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None, OR_OWN] = Field(
        default=None, examples=[[1.0, 1.0, 2.5]]
    )
    """Voxel spacing (x, y, z) in mm that every scan is resampled to; "own", or absent: each keeps its own."""
    window: tuple[float, float] = (-1000.0, 1000.0)
    """HU range of scans that is kept in the store, and scaled to 0..1 for the network."""
    size: tuple[PositiveInt, PositiveInt] = (224, 224)
    """Rows and columns that every image is made to fit, its proportions kept."""
    channels: Literal[1, 3] = 1
    """Of images: 1 makes colour grey."""
    bits: PositiveInt | None = Field(default=None, examples=[12])
    """Bit depth of images whose files have room for more (12 in a 16-bit PNG); absent: the file's."""
    chunk: Sides = (64, 64, 32)
    """Voxels (or pixels) of one compressed chunk of the store."""
    workers: NonNegativeInt = 2
    """Processes that read scans; 0: this one alone."""

    @field_validator("window")
    @classmethod
    def _window_is_a_range(cls, window: tuple[float, float]) -> tuple[float, float]:
        if not -32768 < window[0] < window[1] <= 32767:  # of the store's voxels; -32768 is a lost one
            raise ValueError(f"{list(window)}: expected the lower end first, within -32767 and 32767 HU")
        return window


class Autoencode(Section):
    """The autoencoder without skip connections on whole scans (design of the latent features)."""

    size: Size = (128, 128, 64)
    """Voxels (or pixels) that every whole scan (or image) is resized to."""
    width: PositiveInt | None = Field(default=None, examples=[8])
    """Channels of the first level in 3D; absent: the network's. In 2D the encoder is the network's."""
    epochs: PositiveInt = 100
    """Passes over all scans."""
    batch_size: PositiveInt = 4
    """Scans in a batch."""
    lr: float = Field(default=1e-3, gt=0)
    """Learning rate."""


class Discover(Section):
    """Self-discovery: which cubes of which patients carry which pattern label (paper, Sec. 2)."""

    patterns: PositiveInt = 44
    """C: how many patterns are looked for, each a class that the network learns to tell."""
    neighbours: PositiveInt = 200
    """K: nearest patients of a reference that a pattern is cropped from, itself included."""
    cube: Sides = (64, 64, 32)
    """Voxels of the base cube."""
    resolutions: int = Field(default=3, ge=1, le=127)
    """Cubes per patient and pattern: the base one and resolutions - 1 of a random in-plane size."""
    in_plane: tuple[PositiveInt, PositiveInt] = (50, 80)
    """Range of the random in-plane size, in voxels."""
    jitter: tuple[NonNegativeInt, ...] = (10, 10, 10)
    """Largest shift of the cubes of a random size along each axis, in voxels."""
    frame: Literal["voxel", "relative", "features"] = "voxel"
    """Where a place is, from patient to patient: at the same voxel index (paper), at the same fraction of the scan's
    size, for scans whose field of view was cropped to the body, or where the features of `weights` are the most alike;
    the nearest patients are then those in whom they are."""
    weights: str = ""
    """Name or folder of trained 3D weights, with `frame = "features"`."""
    border: tuple[Border, ...] = (100 / 512, 100 / 512, 30 / 300)
    """Share of each side that stays free of corners, at both ends."""
    min_distance: float = Field(default=5.0, ge=0)
    """Voxels between any two corners."""
    tissue: float = Field(default=0.5, ge=0, lt=1)
    """Share of a window's voxels that must lie above tissue_hu, of images above tissue_level."""
    tissue_hu: float = -150.0
    """HU above which a voxel of a scan is tissue."""
    tissue_level: float = Field(default=0.1, ge=0, lt=1)
    """Grey level in 0..1 above which a pixel of an image is tissue."""

    @model_validator(mode="after")
    def _range_is_in_order(self) -> Discover:
        if self.in_plane[0] > self.in_plane[1]:
            raise ValueError(f"discover.in_plane = {list(self.in_plane)}: expected the smaller end first")
        if (self.frame == "features") != bool(self.weights):
            raise ValueError('discover.weights goes with discover.frame = "features": give both, or neither')
        return self

    @property
    def needs_autoencoder(self) -> bool:
        """Whether its features say which patients are near: else those are in whom `weights` find a place."""
        return self.frame != "features"


class Regions(Section):
    """Dense patterns: regions of some reference patients, and where each voxel of all others lies in them."""

    references: PositiveInt = 3
    """Train patients that all others are bent onto: those whose scans are the largest, in mm."""
    weights: str = "dense-contrast-3d-tiny"
    """Name or folder of trained 3D weights, by whose features scans are bent onto one another."""
    regions: int = Field(default=2048, ge=2, le=32767)
    """That the tissue of each reference is cut into, by place and intensity."""
    intensity: tuple[float, float] = (-300.0, 500.0)
    """HU range in which intensities tell regions apart."""
    mm_per_hu: float = Field(default=0.05, ge=0)
    """mm of place that a difference of one HU counts as."""
    tissue_hu: float = -400.0
    """HU above which, over five voxels along each axis, there is tissue that is cut up."""

    @field_validator("intensity")
    @classmethod
    def _range_is_in_order(cls, intensity: tuple[float, float]) -> tuple[float, float]:
        if not intensity[0] < intensity[1]:
            raise ValueError(f"{list(intensity)}: expected the lower end first")
        return intensity


class MethodSection(Section):
    """Which pre-training method, and its own settings.

    Which keys there are is said by the method (training/methods), and checked when it is looked up.
    """

    model_config = ConfigDict(extra="allow")

    name: str = Field(examples=["restoration"])
    """A file of training/methods, or a method of another package."""
    semantics: bool = False
    """Patches of the discovered patterns, and a branch that classifies them."""


class Pretrain(Section):
    """How long, on how much and how fast the method trains."""

    weights: str = ""
    """Name or folder of trained weights that the network starts from, such as those of an earlier method, to go on with
    them on scans of one's own; empty: from random numbers."""

    size: Size = (64, 64, 32)
    """Input of the network: every cube is resized to it."""
    batch_size: PositiveInt = 16
    """Patches in a batch."""
    epochs: NonNegativeInt = 400
    """Most epochs of the last stage; early stopping ends it sooner."""
    samples_per_epoch: PositiveInt | None = Field(default=None, examples=[2000])
    """Cubes drawn per epoch; absent: the whole table, or 32 random patches of every patient."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Of torch."""
    lr: float = Field(default=1e-3, gt=0)
    """Learning rate at the start."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Of AdamW."""
    schedule: Literal["halve", "cosine"] = "halve"
    """The learning rate is halved every `halve_every` epochs, or falls to 0 along a cosine over all steps."""
    halve_every: PositiveInt = 40
    """Epochs after which the learning rate is halved."""
    warmup: NonNegativeInt = 0
    """Steps at the beginning of each stage over which the learning rate rises."""
    clip: float = Field(default=0.0, ge=0)
    """Largest norm of a step's gradients, which are scaled down to it; 0: they are taken as they are."""
    average: float = Field(default=0.0, ge=0, lt=1)
    """Validated and published is a moving average of the weights, which keeps this share of itself at each step; 0: the
    weights themselves."""
    patience: NonNegativeInt = 50
    """Epochs without a better validation loss after which training ends."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Numbers that the network computes with; bfloat16 is faster on most GPUs and newer CPUs. Where the device has
    none it is float32."""
    workers: NonNegativeInt = 4
    """Processes that crop patches from the store; 0: this one alone."""
    cache_mib: NonNegativeInt = 2048
    """Decoded scans that each reading process may keep in memory."""
    cache_dir: str | None = Field(default=None, examples=["/scratch/sg_hub"])
    """Folder on a local disk where what is read of a store on object storage is kept."""
    read_ahead: PositiveInt = 2
    """Batches that each reading process has ready before they are asked for."""
    picture_every: PositiveInt = 5
    """Epochs between two pictures of what the network makes of some patches."""
    checkpoint_every: PositiveInt = 200
    """Steps between two checkpoints."""
    batch_parts: PositiveInt | None = Field(default=None, examples=[4])
    """Parts that a batch is computed in, shared by the processes or one after the other (gradient accumulation): the
    same number gives the same training on any number of processes. Each part has its own noise, statistics of norms and
    loss (what is contrasted, or the voxels that in-painting averages over), so that another number is another
    training. Absent: one for each process, or as many as the run was begun with."""
    compile: bool = False
    """Compile the network by torch.compile: slow to start, then faster, on GPUs most of all."""
    shard: bool = False
    """Divide weights, gradients and optimiser states among the processes (FSDP2), for networks too large for one."""


MOVED = ("classification_epochs", "lambda_rec", "lambda_cls", "elastic", "shuffle_windows")
"""Keys of [method] that were in [pretrain] before there were several methods."""


def with_newer_keys(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a recipe in today's form: keys that moved where they are now, and the method named.

    A key that stands in both places was overridden under its older name, and that counts. Recipes that name no method
    are Semantic Genesis.
    """
    pretrain, method = values.get("pretrain") or {}, values.get("method") or {}
    if not isinstance(pretrain, dict) or not isinstance(method, dict):
        return values  # which is said when they are validated
    method = method | {key: pretrain[key] for key in MOVED if key in pretrain}
    if "name" not in method:
        method = {"name": "restoration", "semantics": True} | method
    pretrain = {key: value for key, value in pretrain.items() if key not in MOVED}
    return values | {"pretrain": pretrain, "method": method}


class Model(Section):
    """What is trained: a class of sg_hub and its arguments."""

    architecture: Literal["SemanticGenesis3D", "SemanticGenesis2D"] = "SemanticGenesis3D"
    """Class of sg_hub: for scans or for images."""
    width: PositiveInt = 32
    """Channels of the first level, in 3D."""
    norm: Literal["batch_stats", "batch", "instance"] = "batch_stats"
    """Normalisation, in 3D."""
    encoder: str = "resnet18"
    """Encoder of timm, in 2D."""
    decoder_width: PositiveInt = 16
    """Channels of the decoder at the size of the input, in 2D."""

    @property
    def ndim(self) -> int:
        """Spatial dimensions: 3 for scans, 2 for images."""
        return 3 if self.architecture == "SemanticGenesis3D" else 2


class Publish(Section):
    """What the card says that no run can know. A text that is empty was not said, and the card says that it is not.

    A recipe may say which data its texts are about, by `names`, `patients` or `images`. Of other data they are left out
    (`data.provenance.said_of`), but for those that were given with the command, or by a recipe that has it as its base.
    """

    licence: str = Field(default="", examples=["apache-2.0"])
    """Of the weights, as the hub calls it."""
    dataset: str = Field(default="", examples=["openkbp"])
    """Short name of the data set: target tasks on it are checked for patients that were pre-trained on."""
    data_name: str = Field(default="", examples=["155 head-and-neck CT"])
    """What the data are, in words."""
    data_licence: str = Field(default="", examples=["MIT"])
    """Licence of the data."""
    data_citation: str = ""
    """Who is to be cited for the data."""
    modality: str = "CT"
    """As DICOM calls it: CT, MR, PT, CR or DX."""
    limits: str = ""
    """What the weights are not for; the card says it first."""
    saw: str = ""
    """What training saw, where it is not what `model.preprocess` makes; the card says it there."""
    names: str | None = Field(default=None, examples=["pt_[0-9]+"])
    """Regular expression that the names of all items match."""
    patients: str | None = None
    """`data.provenance.digest` of the patients that are trained and validated on."""
    images: tuple[str, ...] | None = None
    """`data.identity.image_hash` of every item; there may be fewer items."""
    given: tuple[str, ...] = ()
    """Texts that are said of any data: given with the command, or beside the texts of a base about its own data."""

    @field_validator("names")
    @classmethod
    def _names_are_a_pattern(cls, pattern: str | None) -> str | None:
        _compiled(pattern)
        return pattern


class Recipe(Section):
    name: Name = Field(examples=["my-weights"])
    """Of the weights: the folder that is published is called so."""
    seed: int = 2020
    """Of everything that is drawn."""
    source: str = Field(examples=["/data/ct"])
    """Folder of scans (or images); searched recursively."""
    run: str = Field(examples=["runs/my-weights"])
    """Folder of everything that the run writes."""
    split: str | None = Field(default=None, examples=["patients.csv"])
    """CSV with the columns patient and split (and image, where a patient has several), a file or the name of one that
    comes with the recipes; absent, or "": every patient may train."""
    patient: str | None = Field(default=None, examples=["([0-9]+)_[0-9]+"])
    """Regular expression whose first group is the patient in the path of a scan or image; absent: each is another's."""
    split_names: dict[str, Split] = Field(default={"train": "train", "validation": "validation", "test": "test"})
    """What the values of the CSV's column split mean here. Pre-training sees train, early stopping looks at
    validation, and nothing but the final evaluation reads test."""
    validation_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the train patients, drawn by the seed, that becomes validation where the CSV names none."""
    model: Model = Field(default_factory=Model)
    prepare: Prepare = Field(default_factory=Prepare)
    autoencode: Autoencode = Field(default_factory=Autoencode)
    discover: Discover = Field(default_factory=Discover)
    regions: Regions = Field(default_factory=Regions)
    method: MethodSection
    pretrain: Pretrain = Field(default_factory=Pretrain)
    publish: Publish = Field(default_factory=Publish)

    @model_validator(mode="before")
    @classmethod
    def _older_keys(cls, values: Any) -> Any:
        return with_newer_keys(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _sizes_fit_the_network(self) -> Recipe:
        ndim, multiple = self.model.ndim, 8 if self.model.ndim == 3 else 32
        sizes: dict[str, tuple[float, ...]] = {
            "prepare.chunk": self.prepare.chunk,
            "autoencode.size": self.autoencode.size,
            "discover.cube": self.discover.cube,
            "discover.jitter": self.discover.jitter,
            "discover.border": self.discover.border,
            "pretrain.size": self.pretrain.size,
        }
        for name, size in sizes.items():
            if len(size) != ndim:
                raise ValueError(f"{name} = {list(size)}: a {self.model.architecture} needs {ndim} numbers")
        for name in ("pretrain.size", "autoencode.size"):
            if any(side % multiple or side <= 0 for side in sizes[name]):
                raise ValueError(f"{name} = {list(sizes[name])}: every side must be a multiple of {multiple}")
        return self

    @field_validator("name")
    @classmethod
    def _name_is_one_of_a_hub(cls, name: str) -> str:
        if not name.isascii() or set(name) & set(" +()"):
            raise ValueError(f"{name!r}: expected letters, digits, dots, dashes and underscores, as hubs take them")
        return name

    @field_validator("source", "run", "split")
    @classmethod
    def _home_is_resolved(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path is None or (not path and info.field_name == "split"):  # which says that there is none
            return path
        if "://" in path:
            if "@" in path.partition("://")[2].partition("/")[0]:
                raise ValueError(
                    "the address holds a name or a password, which every record would show: give it without, and these "
                    "as the storage's library expects them (of S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
                )
            return path
        resolved_path = given_path(path, "a file or folder")
        return str(resolved_path) if path.startswith("~") else path

    @field_validator("patient")
    @classmethod
    def _pattern_has_a_group(cls, pattern: str | None) -> str | None:
        if _compiled(pattern).groups < 1 and pattern is not None:
            raise ValueError(f"{pattern!r}: put the patient's part in parentheses, such as ([0-9]+)_")
        return pattern

    @property
    def run_dir(self) -> Path:
        return Path(self.run)


def _compiled(pattern: str | None) -> re.Pattern[str]:
    try:
        return re.compile(pattern or "")
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error


def resolved(recipe: Recipe) -> dict[str, Any]:
    """Every value of a recipe, as plain JSON types."""
    return recipe.model_dump(mode="json")
