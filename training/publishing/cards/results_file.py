"""results.json of a model folder: what was measured, and with what the weights were made.

Keys that are not here are kept as they are, and a card may show them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from sg_hub.errors import ReadError
from sg_hub.hub.config_file import CONFIG
from sg_hub.io.files import write_json
from sg_hub.models import PretrainedModel
from sg_hub.models.registry import network_of

from ...run.folder.checksums import opened, sealed
from ...run.recipe import with_newer_keys
from ...run.settings import LARGEST

RESULTS = "results.json"
Number = Annotated[int, Field(ge=0, le=LARGEST)]
Count = Annotated[int, Field(gt=0, le=LARGEST)]


class Record(BaseModel):
    """A JSON object whose keys and types are checked."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


Kind = TypeVar("Kind", bound=Record)


class Provenance(Record):
    """Where weights come from, as config.json has it."""

    data: str
    """Empty: not said."""
    recipe: str
    commit: str
    licence: str = "unknown"
    licence_name: str | None = None
    licence_link: str | None = None


class Counts(Record):
    train: Number
    validation: Number
    test: Number


class Publish(Record):
    """What a person says of the weights and of their data; a text that is empty was not said."""

    dataset: str
    data_licence: str
    data_citation: str
    limits: str
    saw: str = ""


class Pretraining(Record):
    epochs: Number
    minutes: FiniteFloat
    cubes_per_epoch: Number
    machine: str
    commit_at_start: str | None = None
    """Of the code, when the last process of the run began."""
    commit_at_end: str


class Evaluation(Record):
    """What else is in it, the method says."""

    split: str
    patients: Number
    cubes: Number


class Discover(Record):
    patterns: Count
    neighbours: Count
    cube: list[Count]
    resolutions: Count


class Regions(Record):
    references: Count
    regions: Count
    weights: str


class Pretrain(Record):
    weights: str = ""
    size: list[Count]
    epochs: Number
    optimizer: Literal["adam", "adamw"] = "adam"
    lr: FiniteFloat
    precision: str


class Recipe(Record):
    """Each section as it was when its step ran."""

    model: dict[str, Any]
    prepare: dict[str, Any]
    autoencode: dict[str, Any] | None = None
    """Only of methods that need patterns."""
    discover: Discover
    regions: Regions | None = None
    """Only of methods that need them."""
    method: dict[str, Any]
    pretrain: Pretrain


class TransferRow(Record):
    """One class of a target, or the mean over them."""

    name: str
    pretrained: str = Field(pattern=r"^[0-9]*\.?[0-9]+( ± |$)")
    """Mean ± standard deviation over trials, as are the others."""
    random: str
    difference: str
    p: str


class Sure(Record):
    """A mean without test items whose reference is known to be wrong."""

    items: int
    """How many these are."""
    value: str = Field(pattern=r"^[0-9]*\.?[0-9]+( ± |$)")


class Transfer(Record):
    """What a benchmark found of the weights, as `training.report.cards` writes it."""

    title: str
    about: str
    dataset_type: str
    dataset_name: str
    task_type: str = "image-segmentation"
    metric_type: str = "iou"
    metric: str
    rows: list[TransferRow]
    verdict: str
    labels: str = ""
    """How many, in words; empty: all."""
    sha256: str
    """Of the weights that were fine-tuned."""
    doubtful: Sure | None = None


class WorthRow(Record):
    """One measure: a value with its 95 % interval, as are the others."""

    name: str
    pretrained: str
    random: str
    position: str
    """Where nothing is looked at; empty: it is no place that is looked for."""
    difference: str
    p: str


class Worth(Record):
    """What weights are worth as they are, as `training.worth.cards` writes it."""

    title: str
    about: str
    dataset_type: str
    dataset_name: str
    rows: list[WorthRow]
    verdict: str
    sha256: str
    """Of the weights that were measured."""


class PretrainedResults(Record):
    """Of a run of pre-training."""

    name: str
    sha256: str
    seed: int
    recipe: Recipe
    publish: Publish
    patients: Counts
    images: Counts | None = None
    """In 3D scans; absent: each patient has one."""
    rows: Counts | None = None
    """Of the table of patterns, where the method needs one."""
    pretrain: Pretraining
    evaluation: Evaluation
    transfer: list[Transfer]
    worth: list[Worth] = []


class FinetunedSettings(Record):
    """Of the training."""

    keep: str = "best"


class FinetunedTarget(Record):
    """What a card says of the task, of the fields of `training.targets.Target`."""

    name: str
    title: str
    description: str
    dataset: str
    ndim: int
    head: str
    classes: list[str]
    exclusive: bool
    settings: FinetunedSettings = FinetunedSettings()


class Doubtful(Record):
    """Test items whose reference is known to be wrong, and why; and the results without them."""

    items: dict[str, str]
    values: dict[str, FiniteFloat]


class FinetunedResults(Record):
    """Of one trial for a task of one's own."""

    target: FinetunedTarget
    init: str
    seed: int
    steps: int
    sha256: str
    values: dict[str, FiniteFloat]
    left_out: list[str]
    items: Counts
    patients: Counts
    skipped: list[str]
    best_step: int
    unchecked: str
    minutes: FiniteFloat
    machine: str
    commit: str
    absent: dict[str, int] = {}
    """By class, test items in which it was neither there nor found."""
    doubtful: Doubtful | None = None
    advice: str = ""
    """What to change in the settings."""


def read_results(folder: Path, kind: type[Kind]) -> Kind:
    """results.json of a model folder.

    Raises:
        ReadError: it is missing, damaged, or lacks something; the message names the file and the key.
    """
    path = folder / RESULTS
    return _validated(kind, _as_today(read_object(path)), path)


def provenance_of(folder: Path, network: PretrainedModel) -> Provenance:
    """What a model folder's config.json says of where its weights come from.

    Raises:
        ReadError: it lacks something that is on the card.
    """
    return _validated(Provenance, network.provenance, folder / CONFIG)


def _validated(kind: type[Kind], value: dict[str, Any], path: Path) -> Kind:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        found = error.errors()[:5]
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in found)
        writers = "`sg-hub publish` or `sg-hub finetune`"
        raise ReadError(f"{path} is not what {writers} wrote ({problems}): make the folder again") from error


def _as_today(results: dict[str, Any]) -> dict[str, Any]:
    """The results of a model folder that was written before, in the form that they have now."""
    evaluation, pretrain, recipe = (results.get(key) for key in ("evaluation", "pretrain", "recipe"))
    if "sha256" not in results and isinstance(evaluation, dict) and "sha256" in evaluation:
        results = results | {"sha256": evaluation["sha256"]}
    if isinstance(pretrain, dict) and "commit" in pretrain:  # was read when the record was written
        results = results | {"pretrain": {"commit_at_end": pretrain["commit"], **pretrain}}
    return results | ({"recipe": with_newer_keys(recipe)} if isinstance(recipe, dict) else {})


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object in a model folder.

    Raises:
        ReadError: no file, or another content.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReadError(
            f"{path} is not there: give a folder that `sg-hub publish` or `sg-hub finetune` wrote"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{path} is damaged ({error}): make the folder again") from error
    if not isinstance(found, dict):
        raise ReadError(f"{path} holds a {type(found).__name__}, expected an object: make the folder again")
    try:
        return opened(found)
    except ValueError as error:
        raise ReadError(f"{path} is not as it was written ({error}): move the folder away and make it again") from error


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """results.json of a model folder, with a checksum of what it says.

    Raises:
        ReadError: it cannot be written.
    """
    write_json(folder / RESULTS, sealed(results))


def read_network(folder: Path) -> PretrainedModel:
    """The network that config.json of a model folder describes, without weights and without memory.

    Raises:
        ReadError: it is missing, damaged, or not what the architecture takes; the message names the file.
    """
    network = network_of(folder / CONFIG)
    if not isinstance(network.preprocessing.modality, str):
        raise ReadError(
            f"{folder / CONFIG}: modality is {network.preprocessing.modality!r}, expected a text such as CT"
        )
    return network
