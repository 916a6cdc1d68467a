"""The sections of a target's TOML: the grid, the splits, and how a trial trains."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from sg_hub import ImagePreprocessing, Preprocessing

from ..run.settings import OR_OWN, Section

Share = Annotated[float, Field(ge=0, lt=1)]
Sides = tuple[PositiveInt, ...]


class Grid(Section):
    """How an item becomes what the network takes: what a preprocessing of sg_hub is built from."""

    intensity: Literal["window", "percentile", "zscore"] = "window"
    """What low and high are: values of the scan (`window`, for CT), percentiles of it (for MRI), or deviations from its
    mean."""
    low: float | None = Field(default=None, examples=[-1000.0])
    """What becomes 0: a value of the scan (HU) or a grey level in 0..1, or a percentile; or the least number of
    standard deviations. Absent: sg_hub's own window; with reader = "folder", as the weights expect."""
    high: float | None = Field(default=None, examples=[1000.0])
    """What becomes 1, or the largest number of standard deviations."""
    spacing: Annotated[tuple[float, float, float] | None, OR_OWN] = Field(default=None, examples=[[1.0, 1.0, 2.5]])
    """Voxels (x, y, z) in mm that scans are resampled to; "own", or absent: each keeps its own. With reader = "folder",
    absent: as the weights expect."""
    size: Sides | None = Field(default=None, examples=[[64, 64, 32]])
    """Voxels (x, y, z) or pixels (rows, columns) of an item; absent: each scan as large as it is. With reader =
    "folder", absent in 2D and for a classification: as the weights expect."""

    def of_scans(self) -> Preprocessing:
        """How a whole scan becomes what the network takes."""
        size = self.size if self.size is not None and len(self.size) == 3 else None
        modality = "CT" if self.intensity == "window" else "MR"
        return Preprocessing(modality=modality, spacing=self.spacing, size=size, **self._limits())

    def of_pictures(self, size: tuple[int, ...]) -> ImagePreprocessing:
        """The same for a picture, which keeps its proportions. size: (rows, columns) of the network's input."""
        return ImagePreprocessing(input_size=(size[0], size[1]), **self._limits())

    def _limits(self) -> dict[str, Any]:
        if self.intensity != "window" and (self.low is None or self.high is None):
            such = "0.5 and 99.5" if self.intensity == "percentile" else "-3 and 3"
            raise ValueError(f"grid.low, grid.high: intensity = {self.intensity!r} needs both, such as {such}")
        given = {"low": self.low, "high": self.high}
        return {"intensity": self.intensity} | {key: value for key, value in given.items() if value is not None}


class Splits(Section):
    """Who is trained, validated and tested on, where the data set does not say it."""

    seed: int = 0
    """Of the draw of the patients."""
    validation: Share = 0.15
    """Share of the patients that are not tested on."""
    test: Share = 0.3
    """Share of all patients, where there is no official test part."""
    file: str | None = Field(default=None, examples=["split.csv"])
    """CSV with the columns patient and split (train, validation, test), which comes before everything else."""
    pretrained: Literal["train"] | None = None
    """`train`: patients whom any of the initialisations was pre-trained on are trained on, not tested (as the paper's
    own splits do); absent: they stay where they are, and weights that have seen test patients are refused."""


class Settings(Section):
    """How a trial is trained: the same for every initialisation, chosen on validation patients."""

    steps: PositiveInt = 400
    """Batches that are trained on."""
    batch_size: PositiveInt = 8
    """Patches, or items, in a batch."""
    patch: Sides | None = Field(default=None, examples=[[64, 64, 32]])
    """Voxels that the network sees at once; absent: a whole item (grid.size), or with reader = "folder" as the weights
    recommend."""
    lr: float = Field(default=2e-3, gt=0)
    """Highest learning rate; it rises during `warmup` and falls to 0 at the last step."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Of AdamW."""
    lr_factor: float = Field(default=1.0, gt=0, examples=[0.3])
    """What lr is multiplied by: settings of an initialisation's own are found by it (`sg-hub compare`)."""
    body_lr_factor: float = Field(default=1.0, ge=0)
    """Learning rate of all layers but the last, as a share of lr, for every initialisation."""
    head_first: Share = Field(default=0.0, examples=[0.3])
    """Share of the steps in which the encoder is frozen, and only what is behind it trains; then everything does, with
    a second `warmup`."""
    background_weight: float = Field(default=1.0, ge=0)
    """Segmentation: weight of the background in the cross-entropy. With 0.1, small organs are found many steps
    sooner."""
    balanced: bool = False
    """Classification: every class is drawn equally often."""
    mirror: str = Field(default="", pattern="^[xyz]*$", examples=["x"])
    """Axes along which half of the items are mirrored (2D: x is left and right, y up and down). Along x, classes of one
    side of the body change places: see `mirror_pairs`."""
    shift: int = Field(default=0, ge=0)
    """Largest random shift along every axis but z, in voxels; what moves in is the border again."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    validate_every: PositiveInt = 100
    """Steps between two looks at the validation items."""
    keep: Literal["best", "last"] = "best"
    """Which weights are kept: of the step that did best on the validation items, or of the last one, at which the
    learning rate has fallen to 0."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Numbers that the network computes with; bfloat16 is faster; where the device has none, it is float32."""
    slices: PositiveInt = 3
    """Classification of axial slices: how many around the middle stand for an item."""
