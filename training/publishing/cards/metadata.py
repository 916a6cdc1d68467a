"""The metadata of a card, as the hub reads them: measured values (model-index) and the licence.

The hub groups values by task type and data set (type, config, split), and shows every value of a group under the names
of its first. So each target has a config of its own, its name: no value stands under the name of another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult

from sg_hub.hub.card import licence_data

from .results_file import Provenance

TASK_TYPES = {"accuracy": "image-classification", "roc_auc": "image-classification", "mse": "image-to-image"}
"""Of what pre-training measures, by metric, as the hub calls them."""


def task_type(metric: str) -> str:
    """What was asked of a network whose answer is measured so."""
    return TASK_TYPES.get(metric, "image-feature-extraction")


def without_doubtful(metric: str, count: int) -> str:
    """What a value is of, where so many test items with a reference that is known to be wrong are left out."""
    return f"{metric}, without {count} test items whose reference is known to be wrong"


@dataclass(frozen=True)
class Measured:
    """One measured value."""

    target: str
    """What was asked of the network: one name for one target."""
    task_type: str
    """As the hub calls it, such as image-segmentation."""
    dataset: str
    """Short name of the data set."""
    dataset_name: str
    split: str
    metric_type: str
    """As the hub calls it, such as roc_auc."""
    metric: str
    """What the value is of, in words."""
    value: float


def eval_results(measured: Iterable[Measured]) -> list[EvalResult]:
    """What `ModelCardData` takes; the order is kept."""
    return [
        EvalResult(
            task_type=one.task_type,
            task_name=one.target,
            dataset_type=one.dataset,
            dataset_name=one.dataset_name,
            dataset_config=one.target,
            dataset_split=one.split,
            metric_type=one.metric_type,
            metric_name=one.metric,
            metric_value=one.value,
        )
        for one in measured
    ]


def licence_metadata(provenance: Provenance) -> dict[str, Any]:
    """The licence of weights; nothing where it is not known. One of its own has a name and a link."""
    return {} if provenance.licence in ("", "unknown") else licence_data(provenance.model_dump())
