"""Putting saved tensors into a network: adapt what was asked to change, and let nothing pass in silence."""

from __future__ import annotations

import contextlib
import difflib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sg_hub.devices import there
from sg_hub.errors import InvalidInputError, ReadError, SgHubError, shortened
from sg_hub.hub.card import texts_beside
from sg_hub.hub.config_file import read_config
from sg_hub.hub.find import ModelFiles
from sg_hub.hub.weights_file import read_weights, weights_header
from sg_hub.models.heads import choose
from sg_hub.models.input_checks import impossible

logger = logging.getLogger("sg_hub")

PARTS = ("encoder",)
"""What may be loaded alone."""
OPTIONAL_KEYS: dict[str, Any] = {"class_names": (), "multilabel": False}
"""Keys that config.json need not hold, and what they are then."""
_MOST_GROWTH, _ALWAYS_FINE = 8, 1 << 30
"""A network may need that many times the bytes of its weights, or that many bytes."""

Model = TypeVar("Model", bound=nn.Module)


@dataclass
class LoadReport:
    """What became of every tensor. Keys are those of the network's (or the file's) state dict."""

    source: str
    revision: str | None = None
    sha256: str | None = None
    part: str | None = None
    """What alone was asked for; absent: everything that fits."""
    loaded: list[str] = field(default_factory=list)
    """Taken from the file as they are."""
    adapted: list[str] = field(default_factory=list)
    """Taken from the file, changed to another number of input channels."""
    reset: list[str] = field(default_factory=list)
    """In the network, and initialised afresh."""
    left_out: list[str] = field(default_factory=list)
    """In the file, and not used."""

    def __str__(self) -> str:
        alone = f" of the {self.part} alone" if self.part else ""
        text = f"{self.source}: {len(self.loaded)} tensors{alone} loaded"
        for what in ("adapted", "reset", "left_out"):
            keys = getattr(self, what)
            if keys:
                modules = sorted({key.rsplit(".", 1)[0] for key in keys})
                shown = ", ".join(modules[:6]) + (", ..." if len(modules) > 6 else "")
                text += f"; {len(keys)} {what.replace('_', ' ')} ({shown})"
        return text

    def log(self) -> None:
        logger.info("%s", self)


@dataclass(frozen=True)
class Origin:
    """What a model was loaded from, as it was then."""

    files: ModelFiles
    sha256: str
    config: dict[str, Any]
    texts: dict[str, str] | None
    """Card and licence by file name; None of what came from a hub, which is asked for them where they are needed."""

    def is_still(self, config: dict[str, Any], state: Mapping[str, Tensor]) -> bool:
        """Whether a model is the one that was loaded; where the file is gone or another one, that cannot be told."""
        try:
            if config != self.config or weights_header(self.files.weights).keys() != state.keys():
                return False
            stored, _ = read_weights(self.files.weights, self.sha256)
        except ReadError:
            return False
        return all(torch.equal(value, state[key].detach().cpu().to(value.dtype)) for key, value in stored.items())


def load_model(
    cls: type[Any], files: ModelFiles, asked: Mapping[str, Any], changed: Mapping[str, Any], part: str | None
) -> Any:
    """The network of a model's files, with what was asked to change. Its `load_report` says what was loaded.

    Args:
        cls: class of the network.
        asked: for the head, as `heads.choose` takes it.
        changed: other settings, by their keys in config.json; None: as the weights have them.
        part: `encoder` takes its weights alone.

    Raises:
        InvalidInputError: an option that cannot be, or weights that do not fit the network.
        ReadError: a missing, damaged, newer or wrong file.
    """
    if part is not None and part not in PARTS:
        raise InvalidInputError(f"part={part!r}: expected {' or '.join(map(repr, PARTS))}, or nothing")
    config, before = cls.described(files)
    state, sha256 = cls.stored(files)
    wanted = dict(config)
    task_changed = choose(wanted, **asked)
    for key, value in changed.items():
        if value is not None:
            if key not in ("in_chans", *cls.CHANGEABLE):
                near = difflib.get_close_matches(key, (*asked, "in_chans", "part", *cls.CHANGEABLE), n=1)
                known = key in cls.config_keys()
                raise InvalidInputError(
                    f"{key}={shortened(repr(value), 80)}: from_pretrained of a {cls.__name__} has no such option"
                    + (", for the config of the weights says it: leave it out" if known else "")
                    + (f"; did you mean {near[0]}?" if near and not known else "")
                )
            wanted[key] = value
    after = before if wanted == config else skeleton(cls, wanted)
    report = compare(
        before,
        after,
        state,
        source=files.source,
        fresh=after.head.task_layers if task_changed else (),
        part=part,
    )
    report.revision, report.sha256 = files.revision, sha256
    drawn = torch.get_rng_state()
    model = cls(**wanted)
    if not report.reset:  # nothing of what was drawn is left in it
        torch.set_rng_state(drawn)
    load_state(model, state, report)
    _warn_of_standardised(model, report)
    model.load_report = report
    model.origin = Origin(
        files, sha256, before.config(), None if files.cache_dir else texts_beside(files.config.parent)
    )
    report.log()
    return model


def blueprint(cls: type[Any], files: ModelFiles) -> Any:
    """The network of a model's files without memory: it says what it is, and can compute nothing. Its `load_report`
    says what would be loaded.

    Raises:
        InvalidInputError: weights that do not fit the network.
        ReadError: a missing, damaged, newer or wrong file.
    """
    model = cls.described(files)[1]
    state, sha256 = cls.stored(files)
    model.load_report = compare(model, model, state, source=files.source)
    model.load_report.revision, model.load_report.sha256 = files.revision, sha256
    return model


def read_skeleton(cls: type[Any], path: Path) -> tuple[dict[str, Any], Any]:
    """The arguments in a config.json, and the network that they make, without memory (on the meta device).

    Raises:
        ReadError: a missing, damaged, newer or wrong file, or values that are impossible.
    """
    config = {**OPTIONAL_KEYS, **read_config(path, cls.__name__, cls.config_keys(), frozenset(OPTIONAL_KEYS))}
    with _naming(path):
        return _described(cls, config)


def check_can_be_loaded(model: Any, state: Mapping[str, Tensor], source: str) -> None:
    """Refuse to save what `from_pretrained` would refuse: weights that are not those of the network of the config.

    Args:
        state: what is to be saved.

    Raises:
        InvalidInputError: layers or settings that were changed since the model was built.
    """
    try:
        _, network = _described(type(model), model.config())
        compare(network, network, state, source=source)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{error}. from_pretrained could not load it again, so nothing was saved, and a model that is in {source} "
            "is as it was: load or build it with its options (num_classes, in_chans, preprocessing), or keep what was "
            "changed by torch.save(model.state_dict(), FILE)"
        ) from error


def compare(
    before: Any,
    after: Any,
    state: Mapping[str, Tensor],
    *,
    source: str,
    fresh: tuple[str, ...] = (),
    part: str | None = None,
) -> LoadReport:
    """What becomes of every tensor. Only shapes and types are looked at: both networks may be without memory.

    Args:
        before: the network that the file must hold, to the last tensor.
        after: the one that is to be loaded.
        fresh: modules that start afresh, because the task is another.
        part: what alone is taken of the file.

    Raises:
        InvalidInputError: a missing or unexpected key, another shape or type, or a network that is far larger.
    """
    report = LoadReport(source, part=part)
    saved, target = before.state_dict(), after.state_dict()
    problems = [_misfit(key, state.get(key), value) for key, value in saved.items()]
    problems += [f"{key} is unexpected" for key in sorted(state.keys() - saved.keys())]
    starts = tuple(f"{name}." for name in fresh)
    channels = {"encoder.": (_seen(before), _seen(after)), "restoration.": (before.in_chans, after.in_chans)}
    for key, value in target.items():
        outside = part is not None and not key.startswith(f"{part}.")
        if key not in saved or outside or (starts and key.startswith(starts)):
            report.reset.append(key)
        elif saved[key].shape == value.shape:
            report.loaded.append(key)
        elif _channel_axis(key, saved[key].shape, value.shape, channels) is not None:
            report.adapted.append(key)
        else:
            problems.append(f"{key} has shape {tuple(saved[key].shape)}, expected {tuple(value.shape)}")
    if found := [problem for problem in problems if problem]:
        shown = "; ".join(found[:8]) + (f"; and {len(found) - 8} more" if len(found) > 8 else "")
        raise InvalidInputError(f"{source}: the weights do not fit {type(after).__name__}: {shown}")
    report.left_out = sorted((saved.keys() - target.keys()) | (saved.keys() & set(report.reset)))
    has, needs = (sum(value.numel() * value.element_size() for value in each.values()) for each in (saved, target))
    if needs > max(_MOST_GROWTH * has, _ALWAYS_FINE):
        raise InvalidInputError(
            f"{source}: the network that was asked for needs {needs / 1e9:.3g} GB, and its weights have "
            f"{has / 1e9:.3g} GB: ask for fewer classes or channels"
        )
    return report


def load_state(model: nn.Module, state: Mapping[str, Tensor], report: LoadReport) -> None:
    """Copy into the network what the report of `compare` says.

    Raises:
        InvalidInputError: values that no weights can have.
    """
    target = model.state_dict()
    chosen: dict[str, Tensor] = {}
    for key in (*report.loaded, *report.adapted):
        found, wanted = state[key], target[key]
        if said := impossible(key, found.to(wanted.dtype)):
            raise InvalidInputError(f"{report.source}: {key} holds {said}: download or save it again")
        chosen[key] = found if found.shape == wanted.shape else _adapt(found, wanted.shape, key)
    model.load_state_dict(target | chosen)


def moved(model: Model, device: str | torch.device | None) -> Model:
    """The model on a device; None: where it is.

    Raises:
        InvalidInputError: it cannot go there.
    """
    try:
        return model if device is None else model.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        others = " or ".join(repr(kind) for kind in there() if kind != str(device))
        raise InvalidInputError(f"device={str(device)!r} cannot be used ({reason}): try {others}") from error


def skeleton(cls: type[Any], config: Mapping[str, Any]) -> Any:
    """The network of a config without memory, whatever sizes the config asks for.

    Raises:
        InvalidInputError: values that are impossible.
    """
    try:
        with torch.device("meta"):
            return cls(**config)
    except SgHubError:
        raise
    except (RuntimeError, TypeError, ValueError, OverflowError, ArithmeticError) as error:
        if "meta tensor" in str(error):  # its constructor looks at values, which tensors without memory have not
            return cls(**config)
        raise InvalidInputError(f"no {cls.__name__} can be built of these settings ({shortened(error)})") from error


def _described(cls: type[Any], config: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """The constructor's arguments of a config in JSON types, and the network that they make, without memory."""
    arguments = {**config, "preprocessing": cls.preprocessing_class().from_dict(config["preprocessing"])}
    return arguments, skeleton(cls, arguments)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Mistakes in values of a file name the file."""
    try:
        yield
    except InvalidInputError as error:
        raise ReadError(f"{path}: {shortened(error, 600)}") from error


def _misfit(key: str, found: Tensor | None, wanted: Tensor) -> str | None:
    """Why a tensor cannot be the weights that it is named as, if so."""
    if found is None:
        return f"{key} is missing"
    if found.is_floating_point() != wanted.is_floating_point():
        return f"{key} is of type {found.dtype}, expected {wanted.dtype}"
    if found.shape != wanted.shape:
        return f"{key} has shape {tuple(found.shape)}, expected {tuple(wanted.shape)}"
    return None


def _seen(network: Any) -> int:
    """Channels that the encoder's first convolution sees."""
    return int(network.encoder.get_parameter(network.encoder.input_key).shape[1])


def _warn_of_standardised(network: Any, report: LoadReport) -> None:
    """Say where the response to another number of channels is not the old one: the layer scales its weights itself."""
    key = network.encoder.input_key
    if f"encoder.{key}" not in report.adapted:
        return
    kind = type(network.encoder.get_submodule(key.rpartition(".")[0])).__name__
    if "StdConv" in kind:  # StdConv2d, ScaledStdConv2d, ...Same of timm
        logger.warning(
            "%s: its first convolution (%s) standardises its weights, so that with another number of input channels "
            "its features are scaled otherwise than they were: fine-tune it before they are used",
            report.source,
            kind,
        )


def _channel_axis(
    key: str, found: torch.Size, wanted: torch.Size, channels: Mapping[str, tuple[int, int]]
) -> int | None:
    """The axis of the image's channels: 1 in the convolutions that see the input, 0 in the one that restores it."""
    for dim, name in ((1, "encoder."), (0, "restoration.")):
        others = [size for axis, size in enumerate(found) if axis != dim]
        same = len(found) == len(wanted) > dim and others == [s for axis, s in enumerate(wanted) if axis != dim]
        if key.startswith(name) and same and (found[dim], wanted[dim]) == channels[name]:
            return dim
    return None


def _adapt(weight: Tensor, shape: torch.Size, key: str) -> Tensor:
    """Another number of the image's channels: the mean over the old ones, repeated.

    Input channels are scaled by old / new, so that the same image in all of them gives the old response.
    """
    dim = 1 if key.startswith("encoder.") else 0
    old, new = weight.shape[dim], shape[dim]
    mean = weight.float().mean(dim, keepdim=True)
    if dim == 1:
        mean = mean * (old / new)
    return mean.expand(shape).clone()
