"""What is known of a published release. A new one is one file in `releases/`, which holds `RELEASE`.

A package of one's own adds one, too, by an entry point of the group `sg_hub.releases`: `name = "module:RELEASE"`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from torch import Tensor

from sg_hub.conversion import releases as own
from sg_hub.conversion.keras_file import Layers
from sg_hub.preprocessing.preprocessing import Preprocessing

GROUP = "sg_hub.releases"


NOT_CHECKED = "not checked against the published file"


@dataclass(frozen=True)
class Release:
    """One published network: what its tensors are called, which model it becomes, and whose it is."""

    title: str
    files: str
    """What the authors call the files, for messages."""
    about: str
    """How it was pre-trained: "a network {about} on {data}"."""
    data: str
    home: str
    """Where the authors publish it, with its licence."""
    citation: str
    licence: str
    """As the hub calls it; `other` for one of its own."""
    licence_name: str
    licence_terms: str
    """What it allows and asks for, in a sentence."""
    build: Callable[[Mapping[str, Tensor], str, dict[str, Any]], Any]
    """(state dict, norm, provenance) to the model of sg_hub that it becomes. It is called on the meta device, and with
    the state dicts of other releases, too: what they lack is as in the release's usual form."""
    published_names: Callable[[Iterable[str]], dict[str, str]]
    """Tensor names of that model to {published name: own name}."""
    known_by: str
    """What tells it from other releases."""
    marks: tuple[str, ...] = ()
    """Parts of keys of which its files have one, so that its network is not built for every other file; absent: any."""
    tensor: Callable[[str, Tensor], Tensor] = lambda name, value: value
    """(published name, tensor) to the tensor as the model has it: other axes, another shape."""
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    """What the weights expect of a scan; the model that `build` gives has it."""
    in_chans: int = 1
    """Channels of the network's input, as published."""
    prefixes: tuple[str, ...] = ("module.",)
    """What keys may begin with, and do not in the model."""
    left_out: tuple[str, ...] = ()
    """Parts of the keys that the model has no place for."""
    repeated: tuple[str, ...] = ()
    """Parts of the keys that are second names of a tensor that is there by another one."""
    afresh: tuple[str, ...] = ()
    """How names of the model begin that no file has, or none that could be used: they become 0."""
    checked: bool = True
    """Whether the names were held against the published file, or its list of keys; else they are those that the
    published network's class gives, with the prefixes that its authors describe."""
    norms: tuple[str, ...] = ("batch",)
    """Normalisations that the weights can be used with, as published first."""
    notes: tuple[str, ...] = ()
    """Paragraphs of the card."""
    from_keras: Callable[[Layers, Path], tuple[dict[str, Tensor], dict[str, str]]] | None = None
    """Layers of a Keras file to tensors by their published names, and to what the file calls each."""
    from_tensorflow: Callable[[Mapping[str, Tensor], Path], tuple[dict[str, Tensor], dict[str, str]]] | None = None
    """Variables of a TensorFlow checkpoint to the same."""
    keras_note: str = ""
    """Paragraph of the card of a converted Keras file."""

    def provenance(self) -> dict[str, Any]:
        """What the config says of it, which goes with the weights wherever they go."""
        return {
            "data": f"as published by the authors of {self.title}: {self.data}",
            "checkpoint": self.title,
            "source": self.home,
            "checkpoint_known_by": self.known_by,
            **({} if self.checked else {"not_checked": NOT_CHECKED}),
            "licence": self.licence,
            "licence_name": self.licence_name,
            "licence_link": self.home,
            "licence_terms": self.licence_terms,
            "citation": self.citation,
        }


def xyz(value: Tensor) -> Tensor:
    """A tensor of published weights whose last three axes are z, y, x (depth, rows, columns), as x, y, z."""
    return value.transpose(-3, -1) if value.ndim >= 5 else value


def release_of(module: str) -> Release:
    """A release by its module in `releases/`."""
    found: Release = importlib.import_module(f"{own.__name__}.{module}").RELEASE
    return found


def releases() -> list[Release]:
    """All that this installation knows."""
    modules = [importlib.import_module(f"{own.__name__}.{found.name}") for found in pkgutil.iter_modules(own.__path__)]
    return [*(module.RELEASE for module in modules), *(point.load() for point in entry_points(group=GROUP))]
