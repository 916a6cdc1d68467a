"""Weights that timm publishes: where they are, what they expect, and how they get into an encoder.

timm knows of each encoder one or several sets of weights (`resnet18.a1_in1k`), the hub repository that they are in, and
their statistics (`pretrained_cfg`). They are downloaded like every other model of a hub, into the same cache.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from torch import Tensor

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.hub.config_file import CONFIG
from sg_hub.hub.download import download
from sg_hub.hub.find import ModelFiles
from sg_hub.hub.weights_file import WEIGHTS, read_weights
from sg_hub.io.for_all_threads import ForAllThreads
from sg_hub.models.families.timm_encoder import Scaling, TimmEncoder, build_body
from sg_hub.models.families.timm_import import import_timm
from sg_hub.models.input_checks import all_finite

PREFIX = "timm:"
"""`timm:resnet18` names timm's weights of an encoder."""
IMAGENET = "imagenet"
_UNIT = (0.0, 1.0)
_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0")
"""That timm and the hub call the same."""


@dataclass(frozen=True)
class TimmFiles(ModelFiles):
    """The file of weights that timm publishes; beside it is no config.json of sg_hub."""

    encoder: str = ""
    """Its name in timm, with that of the set of weights."""


def settings_of(encoder: str) -> Any:
    """What timm knows of an encoder's weights, its `PretrainedCfg`.

    Raises:
        InvalidInputError: timm has no such encoder, or no weights of it.
    """
    timm = import_timm()
    name, _, tag = encoder.partition(".")
    known = timm.list_pretrained() if timm.is_model(name) else []
    of_it = [full.partition(".")[2] for full in known if full.partition(".")[0] == name]
    settings = timm.get_pretrained_cfg(name if not tag else encoder) if not tag or tag in of_it else None
    if settings is not None and settings.has_weights:
        return settings
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.lower(), timm.list_models(), n=3, cutoff=0.5)
        what = f"timm {timm.__version__} has no such encoder" + (f"; did you mean {' or '.join(near)}?" if near else "")
    elif of_it:
        what = f"timm {timm.__version__} has no weights of that name; of {name} there are {', '.join(of_it)}"
    else:
        near = difflib.get_close_matches(name, {full.partition(".")[0] for full in timm.list_pretrained()}, n=3)
        what = f"it has no weights in timm {timm.__version__}" + (f"; {', '.join(near)} have" if near else "")
        what += ": leave encoder_weights out, and it starts at random"
    raise InvalidInputError(f"encoder={encoder!r}: {what}")


def full_name(settings: Any) -> str:
    """Of an encoder and its set of weights."""
    return f"{settings.architecture}.{settings.tag}" if settings.tag else str(settings.architecture)


def find(encoder: str, **where: Any) -> TimmFiles:
    """The file of an encoder's weights, downloaded where that is needed.

    Args:
        encoder: name in timm; `resnet18.a1_in1k` names one of several sets of weights.
        where: revision, token, cache_dir, local_files_only, force_download: as in huggingface_hub.

    Raises:
        InvalidInputError: timm has no such encoder, or no weights of it.
        ReadError: they cannot be downloaded, and are not in the cache.
    """
    settings = settings_of(encoder)
    name = full_name(settings)
    if not settings.hf_hub_id:
        raise ReadError(
            f"timm has the weights of {name!r} on no hub, but at {settings.url}: download them, save their tensors as "
            "a .safetensors file, and give encoder_weights='FILE.safetensors'"
        )
    repo_id, _, pinned = settings.hf_hub_id.partition("@")
    revision = where.pop("revision", None) or pinned or None
    try:
        file = download(repo_id, (WEIGHTS,), revision=revision, **where)[0]
    except ReadError as error:
        raise ReadError(
            f"the weights of {name!r} are not in the local cache and cannot be downloaded: connect once, set "
            f"HF_ENDPOINT to a mirror, or copy model.safetensors of {repo_id} from a machine that is online and give "
            f"encoder_weights='model.safetensors'. {error}"
        ) from error
    return TimmFiles(
        file.with_name(CONFIG),
        file,
        repo_id,
        file.parent.name,
        cache_dir=None
        if where.get("local_files_only")
        else os.fspath(where.get("cache_dir") or constants.HF_HUB_CACHE),
        encoder=name,
    )


def read(encoder: str, in_chans: int, file: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of an encoder's body as timm puts them there, and the sha256 of the file.

    timm adapts the first convolution to another number of input channels.

    Raises:
        ReadError: no safetensors file, or one that does not fit the encoder.
    """
    state, sha256 = read_weights(file, None)  # the hub's hash was looked at when it was found
    _check_keys(encoder, state, file)
    overlay = {"state_dict": state, "custom_load": False}
    try:
        with _quiet:  # its classifier is named as unexpected
            body = build_body(encoder, in_chans, pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, ValueError, KeyError) as error:  # tensors of other shapes
        raise ReadError(f"{file} does not fit encoder={encoder!r}: {shortened(error, 300)}") from error
    found: dict[str, Tensor] = body.state_dict()
    broken = [key for key, value in found.items() if not all_finite(value)]
    if broken:
        raise ReadError(f"{file}: NaN or infinite values in {', '.join(broken[:4])}: copy or download it again")
    return found, sha256


def provenance(settings: Any) -> dict[str, Any]:
    """What a config says of where timm's weights come from; they are of photographs and the like, of no patient."""
    repository = settings.hf_hub_id.partition("@")[0] if settings.hf_hub_id else f"{settings.architecture} in timm"
    licence = settings.license or "unknown"
    found = {
        "data": f"as published: the photographs that the name of the weights says ({settings.tag or 'none'})",
        "encoder_weights": repository,
        "licence": licence if licence in (*_LICENCES, "unknown") else "other",
        "licence_name": licence,
        "licence_link": f"https://huggingface.co/{repository}" if settings.hf_hub_id else settings.url,
        "origin": settings.origin_url,
        "paper": settings.paper_ids,
    }
    return {key: value for key, value in found.items() if value} | {"patients": []}


def scaling(encoder: str) -> tuple[Scaling, Scaling]:
    """Mean and standard deviation of each colour of the input that timm's weights expect."""
    settings = import_timm().get_pretrained_cfg(encoder)
    if settings is None or not (settings.mean and settings.std):
        return _UNIT
    return tuple(settings.mean), tuple(settings.std)


def of_channels(values: Scaling, in_chans: int) -> Scaling:
    """A number for each channel; their mean where those that there are are of another number of channels. A grey image
    has as many as there are, for it is repeated."""
    if isinstance(values, (int, float)):
        return float(values)
    return tuple(values) if in_chans in (1, len(values)) else round(sum(values) / len(values), 4)


def load_encoder_weights(encoder: TimmEncoder, name: str, weights: str) -> str:
    """Put weights of timm into the encoder.

    Args:
        name: of the encoder in timm.
        weights: `imagenet` for timm's own, or a .safetensors file with the keys of timm.

    Returns:
        where the weights come from.

    Raises:
        InvalidInputError: neither `imagenet` nor a .safetensors file, or an encoder that has no weights.
        ReadError: the weights cannot be downloaded, or do not fit the encoder.
    """
    if weights == IMAGENET:
        files = find(name)
        file, source = files.weights, files.source
    else:
        if not str(weights).endswith(".safetensors"):
            raise InvalidInputError(
                f"encoder_weights={weights!r}: expected {IMAGENET!r}, or a .safetensors file of timm"
            )
        if not Path(weights).is_file():
            raise ReadError(f"encoder_weights={weights!r}: no such file")
        file, source = Path(weights), Path(weights).name
    seen = encoder.get_parameter(encoder.input_key).shape[1]
    encoder.body.load_state_dict(read(name, seen, file)[0])
    return source


@contextlib.contextmanager
def _errors_alone() -> Iterator[None]:
    logger = logging.getLogger("timm")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


_quiet = ForAllThreads(_errors_alone)
"""Without timm's warnings."""


def _check_keys(name: str, state: Mapping[str, Tensor], file: Path) -> None:
    """Refuse a file that lacks parts of the encoder: timm would leave these at random and go on.

    Raises:
        ReadError: the weights of another network.
    """
    with torch.device("meta"):
        model = import_timm().create_model(name)
    classifier = model.pretrained_cfg.get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    wanted = {key for key in model.state_dict() if not key.startswith(heads)} if heads else set(model.state_dict())
    if missing := sorted(wanted - state.keys()):
        shown = ", ".join(missing[:4]) + (", ..." if len(missing) > 4 else "")
        raise ReadError(
            f"{file} does not fit encoder={name!r}: it lacks {len(missing)} of {len(wanted)} tensors ({shown}); "
            "give the model.safetensors that timm publishes for this encoder"
        )
