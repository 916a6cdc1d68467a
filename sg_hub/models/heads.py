"""The heads: what a network ends in, and what comes out of it. The only file that knows which heads there are.

Everything else asks a head (`model.head`) for what it needs to know, and tests no head's name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.models.unet import conv_block


class PretextOutput(NamedTuple):
    """What the network of the pretext tasks gives."""

    restoration: Tensor
    """(N, C, spatial...) in 0..1: the restored cube or patch, of the input's size and channels."""
    pattern_logits: Tensor
    """(N, num_classes): one logit per anatomical pattern."""


class Classifier(nn.Module):
    """A convolution block where there is a `hidden` number of channels, the average over space, one linear layer."""

    def __init__(
        self, in_chans: int, num_classes: int, *, ndim: int, hidden: int | None = None, norm: str = "batch"
    ) -> None:
        super().__init__()
        self.block = nn.Identity() if hidden is None else conv_block(in_chans, hidden, ndim=ndim, norm=norm)
        self.fc = nn.Linear(hidden or in_chans, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) from the deepest feature map (N, in_chans, spatial...)."""
        result: Tensor = self.fc(self.block(x).mean(dim=tuple(range(2, x.ndim))))
        return result


# The parts that a network may have beside its encoder, and how each is built.
_PARTS: dict[str, Callable[[Any], nn.Module]] = {
    "decoder": lambda network: network.build_decoder(),
    "classifier": lambda network: network.build_classifier(),
    "segmentation": lambda network: network.build_last(network.num_classes),
    "restoration": lambda network: network.build_last(network.in_chans),
}


class Head(ABC):
    """One kind of head. It has no state: its layers are parts of the network."""

    name: str
    parts: tuple[str, ...] = ()
    """Of the network, beside its encoder, in the order in which they are built."""
    task_layers: tuple[str, ...] = ()
    """Modules that hold the answer to one task only: another task starts them afresh."""
    has_classes = True
    """Whether num_classes and class_names mean something."""
    is_task = False
    """Whether it is for a target task; the others are what pre-training leaves."""
    has_labels = False
    """Whether it gives a class of every voxel."""
    has_map = False
    """Whether it gives a map of the input's size, as `map_of` takes it from the output."""
    restores = False
    """Whether that map is the restored input."""
    hub_task = "image-feature-extraction"
    """As hubs call what it is for."""
    gives = ""
    """What comes out of it, in a few words for a card."""
    classifies = False
    """Whether it gives logits of the whole input, (N, num_classes), of its named classes."""

    def usage(self, kind: str) -> str:
        """A line that puts the model to use, on a variable called `kind`: `scan` or `image`."""
        return f"features = sg_hub.embed(model, {kind})  # one vector"

    @abstractmethod
    def forward(self, network: Any, features: list[Tensor], size: Sequence[int]) -> Any:
        """The network's output, from the encoder's maps of an input that is cropped to `size`."""

    @abstractmethod
    def outputs(self, network: Any) -> list[str]:
        """Names of what the network gives, in that order."""

    def map_of(self, output: Any) -> Tensor:
        """(N, C', spatial...): probabilities or the restoration."""
        raise TypeError(f"a {self.name} head has no map")  # asked without has_map: a defect


class Pretext(Head):
    """Restoration, and which anatomical pattern it is."""

    name = "pretext"
    parts = ("decoder", "classifier", "restoration")
    task_layers = ("classifier.fc",)
    gives = "restoration and pattern logits"
    has_map = restores = True

    def forward(self, network: Any, features: list[Tensor], size: Sequence[int]) -> PretextOutput:
        return PretextOutput(_restored(network, features, size), network.classifier(features[-1]))

    def outputs(self, network: Any) -> list[str]:
        return list(PretextOutput._fields)

    def map_of(self, output: Any) -> Tensor:
        result: Tensor = output.restoration
        return result


class Restoration(Head):
    """Restoration alone, as Models Genesis was trained."""

    name = "restoration"
    parts = ("decoder", "restoration")
    has_classes = False
    gives = "the restored input"
    has_map = restores = True

    def forward(self, network: Any, features: list[Tensor], size: Sequence[int]) -> Tensor:
        return _restored(network, features, size)

    def outputs(self, network: Any) -> list[str]:
        return ["restoration"]

    def map_of(self, output: Tensor) -> Tensor:
        return output


class Segmentation(Head):
    """A class of every voxel."""

    name = "segmentation"
    parts = ("decoder", "segmentation")
    task_layers = ("segmentation",)
    hub_task, gives = "image-segmentation", "logits of every voxel"
    is_task = has_labels = has_map = True

    def usage(self, kind: str) -> str:
        return f'labels = sg_hub.predict(model, {kind}, output="labels")'

    def forward(self, network: Any, features: list[Tensor], size: Sequence[int]) -> Tensor:
        return _crop(network.segmentation(network.decoder(features)), size)

    def outputs(self, network: Any) -> list[str]:
        return ["logits"]

    def map_of(self, output: Any) -> Tensor:
        return probabilities(output.float())  # of half precision as well as single precision tells them


class Classification(Head):
    """Classes of the whole input."""

    name = "classification"
    parts = ("classifier",)
    task_layers = ("classifier.fc",)
    hub_task, gives = "image-classification", "logits"
    is_task = classifies = True

    def usage(self, kind: str) -> str:
        return f"logits = model(model.preprocess({kind}), pad=True)"

    def forward(self, network: Any, features: list[Tensor], size: Sequence[int]) -> Tensor:
        result: Tensor = network.classifier(features[-1])
        return result

    def outputs(self, network: Any) -> list[str]:
        return ["logits"]


class Features(Head):
    """The encoder's feature maps, finest first, and nothing behind them."""

    name = "features"
    gives = "feature maps, finest first"
    has_classes = False

    def forward(self, network: Any, features: list[Tensor], size: Sequence[int]) -> list[Tensor]:
        return features

    def outputs(self, network: Any) -> list[str]:
        return [f"features_{level}" for level in range(len(network.encoder.channels))]


HEADS: dict[str, Head] = {
    head.name: head for head in (Pretext(), Restoration(), Segmentation(), Classification(), Features())
}
CLASSES_MEAN = Segmentation.name
"""The head that a number of classes alone asks for."""


def head_of(name: object) -> Head:
    """The head of that name.

    Raises:
        InvalidInputError: there is none.
    """
    if not isinstance(name, str) or name not in HEADS:
        raise InvalidInputError(f"head={name!r}: expected one of {', '.join(HEADS)}")
    return HEADS[name]


def add_parts(network: nn.Module, head: Head) -> None:
    """Build what the head needs beside the encoder."""
    for part in head.parts:
        network.add_module(part, _PARTS[part](network))


def probabilities(logits: Tensor, multilabel: bool = False) -> Tensor:
    """Softmax over the classes of (N, C, ...); sigmoid for one class, and for findings that do not exclude others."""
    return logits.softmax(1) if logits.shape[1] > 1 and not multilabel else logits.sigmoid()


def choose(
    config: dict[str, Any],
    head: str | None,
    num_classes: int | None,
    class_names: Sequence[str] | None = None,
    multilabel: bool | None = None,
) -> bool:
    """Put the asked-for head and its classes into the config of a network.

    Names of classes stay as long as their number and the head do. Where they come with a head that is new, they
    say the number, too.

    Returns:
        whether the task is another, so that its layers start afresh.

    Raises:
        InvalidInputError: no such head, a head without its number of classes, or classes that it has not.
    """
    carried = head_of(config["head"])
    if class_names is not None:
        class_names = _as_list(class_names)
    if head is None and (num_classes is not None or class_names is not None) and not carried.is_task:
        head = CLASSES_MEAN
    wanted = carried if head is None else head_of(head)
    if not wanted.has_classes and (num_classes is not None or class_names is not None):
        given = f"num_classes={num_classes}" if num_classes is not None else f"class_names={class_names}"
        raise InvalidInputError(f"{given}: head={wanted.name!r} has no classes; leave it out")
    count = config["num_classes"]
    if not wanted.has_classes:
        count = 0
    elif num_classes is not None:
        count = num_classes
    elif wanted is not carried:
        if class_names is not None:
            count = len(class_names)
        elif wanted.is_task or not carried.has_classes:
            raise InvalidInputError(
                f"head={wanted.name!r} needs num_classes (the weights carry a {carried.name!r} head): "
                f"from_pretrained(..., head={wanted.name!r}, num_classes=2)"
            )
    changed = wanted is not carried or count != config["num_classes"]
    config |= {"head": wanted.name, "num_classes": count}
    if changed or class_names is not None:
        config["class_names"] = class_names or ()
    if changed or multilabel is not None:
        config["multilabel"] = False if multilabel is None else multilabel
    return changed


def checked_class_names(names: object, head: Head, num_classes: int) -> tuple[str, ...]:
    """Names of the classes, one for each, or none at all.

    Raises:
        InvalidInputError: another number of them, or names that are not different words.
    """
    names = _as_list(names)
    words = all(isinstance(name, str) and name.strip() and name.isprintable() for name in names)
    if not words or len(set(names)) != len(names):
        raise InvalidInputError(f"class_names={list(names)}: expected names that are words, each another one")
    if names and not head.has_classes:
        raise InvalidInputError(f"class_names={list(names)}: head={head.name!r} has no classes; leave them out")
    if names and len(names) != num_classes:
        raise InvalidInputError(
            f"class_names={list(names)}: {len(names)} names for num_classes={num_classes}; expected one for each class"
            + (", the background included" if head.has_labels else "")
        )
    return tuple(names)


def _as_list(names: Any) -> list[Any]:
    try:
        if isinstance(names, (str, bytes, set, frozenset)):  # sets have no order
            raise TypeError
        found = [*names]
    except TypeError:
        raise InvalidInputError(
            f"class_names={names!r}: expected one name for each class, such as ['background', 'liver']"
        ) from None
    return [str(name) if isinstance(name, str) else name for name in found]  # those of numpy are of its own kind


def found_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Names of labels 1, 2 and so on: all but the background, which a model of one output does not name."""
    return tuple(class_names if len(class_names) == 1 else class_names[1:])


def _restored(network: Any, features: list[Tensor], size: Sequence[int]) -> Tensor:
    return _crop(torch.sigmoid(network.restoration(network.decoder(features))), size)


def _crop(x: Tensor, size: Sequence[int]) -> Tensor:
    for axis, side in enumerate(size, 2):
        x = x.narrow(axis, 0, side)
    return x
