"""Published checkpoints (Semantic Genesis, Models Genesis) to model folders that from_pretrained loads.

Nothing of a file is ever executed: a torch file is read by `torch.load(weights_only=True)`, an HDF5 file as arrays.
"""

from __future__ import annotations

import filecmp
import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData
from torch import Tensor

from sg_hub.conversion.torch_files import WANTED, published_keys, read_state, state_of
from sg_hub.errors import InvalidInputError, ReadError, SgHubError
from sg_hub.hub.config_file import CONFIG
from sg_hub.hub.weights_file import WEIGHTS
from sg_hub.io.files import given_path
from sg_hub.models.semantic_genesis import SemanticGenesis3D
from sg_hub.preprocessing.preprocessing import Preprocessing

logger = logging.getLogger("sg_hub")

_NORMS = ("batch_stats", "batch")
_COUNTS = (torch.int32, torch.int64)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_FILES = (WEIGHTS, CONFIG, "README.md")
_TEMPLATE = Path(__file__).parent / "card.md.jinja"
LICENCE = "ASU GitHub Project License"


@dataclass(frozen=True)
class _Published:
    """What is known of one published network."""

    title: str
    head: str
    about: str
    home: str
    """Where the authors publish it, with its licence."""
    citation: str


SEMANTIC_GENESIS = _Published(
    title="Semantic Genesis",
    head="pretext",
    about="pre-trained by self-discovery, self-classification and self-restoration",
    home="https://github.com/JLiangLab/SemanticGenesis",
    citation="F. Haghighi, M. R. Hosseinzadeh Taher, Z. Zhou, M. B. Gotway, J. Liang. Learning Semantics-enriched "
    "Representation via Self-discovery, Self-classification, and Self-restoration. MICCAI 2020.",
)
MODELS_GENESIS = _Published(
    title="Models Genesis",
    head="restoration",
    about="pre-trained by restoring corrupted cubes",
    home="https://github.com/MrGiovanni/ModelsGenesis",
    citation="Z. Zhou, V. Sodha, M. M. Rahman Siddiquee, R. Feng, N. Tajbakhsh, M. B. Gotway, J. Liang. Models "
    "Genesis: Generic Autodidactic Models for 3D Medical Image Analysis. MICCAI 2019.",
)


def convert(file: str | os.PathLike[str], out_dir: str | os.PathLike[str], *, norm: str = "batch_stats") -> Path:
    """Write a model folder (config.json, model.safetensors, README.md) from a published checkpoint.

    The folder is loaded by `sg_hub.from_pretrained(out_dir)`, with every option that it has. The weights keep the
    licence that they were published with: academic and other non-commercial use only.

    Args:
        file: `semantic_genesis_chest_ct.pt`, `Genesis_Chest_CT.pt` (Models Genesis: it has no classifier, so
            the folder's head is `restoration`; any file without one is taken for it), or the Keras `.h5` of
            Semantic Genesis; h5py reads the last. Known by what is in it, not by its name. `{"state_dict": ...}`
            and a bare state dict are accepted, with or without the prefixes `module.` and `classficationNet.`;
            keys with `projection_head` or `prototypes` are left out, and listed in the config's provenance.
        out_dir: a new or empty folder; one that holds exactly what this conversion writes is left as it is.
        norm: `batch_stats` normalises by the batch's own statistics, in evaluation too, as the weights were trained and
            read out; outputs then depend on the batch. `batch` uses the running statistics in the file.
            from_pretrained(..., norm=...) changes it later, too.

    Returns:
        The folder.

    Raises:
        ReadError: no such file, one that is empty, damaged, or holds other things than tensors, or a folder that
            cannot be written.
        InvalidInputError: another network (missing and unexpected keys, wrong shapes and impossible values are
            named), an impossible norm, or a folder that holds a model or other files.
    """
    if norm not in _NORMS:
        raise InvalidInputError(
            f"norm={norm!r}: expected one of {', '.join(_NORMS)} (for 'instance' give it to from_pretrained)"
        )
    source = given_path(file, f"the checkpoint, {WANTED}")
    folder = given_path(out_dir, "a new folder for the converted model")
    _check_folder(folder)
    raw, labels = read_state(source)
    state, left_out = state_of(raw, source)
    published = SEMANTIC_GENESIS if any(key.startswith("clc_out.") for key in state) else MODELS_GENESIS
    with torch.device("meta"):
        model = SemanticGenesis3D(
            width=32,
            head=published.head,
            num_classes=_classes(state),
            norm=norm,
            preprocessing=Preprocessing(),
            provenance=_provenance(published, source, left_out),
        )
    model.load_state_dict(_renamed(model, state, source, labels), strict=True, assign=True)
    _write(model, folder, _card(model, published, source.name, keras=bool(labels)))
    for key in left_out:
        logger.info("%s: left out %s", source.name, key)
    return folder


def _classes(state: dict[str, Tensor]) -> int:
    weight = state.get("clc_out.fc1.weight")
    return weight.shape[0] if weight is not None and weight.ndim == 2 and weight.shape[0] else 44


def _renamed(
    model: SemanticGenesis3D, state: dict[str, Tensor], source: Path, labels: dict[str, str]
) -> dict[str, Tensor]:
    """The checkpoint's tensors under the names of `model`, in the types that it has.

    Raises:
        InvalidInputError: keys that are missing or unexpected, wrong shapes or types, or impossible values.
    """
    target = model.state_dict()
    names = published_keys(target)
    problems: dict[str, list[str]] = {
        "keys are missing": [key for key in names if key not in state],
        "are unexpected": [key for key in state if key not in names],
    }
    renamed: dict[str, Tensor] = {}
    for key, name in names.items():
        if key not in state:
            continue
        label = f"{key} ({labels[key]} in the file)" if key in labels else key
        if (wrong := _wrong(key, state[key], target[name])) is not None:
            problem, details = wrong
            problems.setdefault(problem, []).append(label + details)
        else:
            value = state[key].detach().to(target[name].dtype)
            renamed[name] = value.clone(memory_format=torch.contiguous_format)
    found = [f"{len(keys)} {problem}: {_some(keys)}" for problem, keys in problems.items() if keys]
    if found:
        raise InvalidInputError(
            f"{source} is not a published checkpoint of Semantic Genesis or Models Genesis. {'. '.join(found)}. "
            f"Expected: {WANTED}"
        )
    return renamed


def _wrong(key: str, value: Tensor, wanted: Tensor) -> tuple[str, str] | None:
    """What is wrong with a tensor, and its details; None: nothing."""
    if value.shape != wanted.shape:
        return "have the wrong shape", f" has {tuple(value.shape)}, expected {tuple(wanted.shape)}"
    count = key.endswith("num_batches_tracked")
    if value.dtype not in (_COUNTS if count else _FLOATS):
        return "have the wrong type", f" is {value.dtype}, expected {'whole' if count else 'floating-point'} numbers"
    if not bool(value.to(wanted.dtype).isfinite().all()):
        return "hold values that are no finite numbers", ""
    if (count or key.endswith("running_var")) and bool((value < 0).any()):
        return "hold negative values, where there can be none", ""
    return None


def _some(keys: list[str], most: int = 12) -> str:
    return ", ".join(keys[:most]) + (f", and {len(keys) - most} more" if len(keys) > most else "")


def _provenance(published: _Published, source: Path, left_out: list[str]) -> dict[str, Any]:
    from sg_hub import __version__

    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "data": f"as published by the authors of {published.title}: 623 chest CT of LUNA-2016",
        "checkpoint": published.title,
        "checkpoint_known_by": "its classifier (clc_out.*)"
        if published is SEMANTIC_GENESIS
        else "the absence of a classifier (clc_out.*): inferred, the file does not name itself",
        "file": source.name,
        "file_sha256": sha256,
        "left_out": left_out,
        "converted_by": f"sg_hub {__version__}",
        "licence": "other",
        "licence_name": LICENCE,
        "licence_link": published.home,
    }


def _check_folder(folder: Path) -> None:
    """Refuse what can be refused before the work; a model in the folder is compared at its end."""
    nearest = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
    if os.path.lexists(nearest) and not os.path.isdir(nearest):
        raise InvalidInputError(f"{nearest} is a file: give a folder for the converted model")
    try:
        there = sorted(path.name for path in folder.iterdir()) if os.path.isdir(folder) else []
    except OSError as error:
        raise ReadError(f"{folder} cannot be read ({error.strerror or error}): give a new folder") from error
    others = [name for name in there if name not in _FILES and not name.startswith(".")]
    if others:
        raise InvalidInputError(
            f"{folder} holds other files ({_some(others)}): give a new or empty folder for the converted model"
        )


def _write(model: SemanticGenesis3D, folder: Path, card: ModelCard) -> None:
    """All files complete before the first takes its place; none takes that of another file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".converting-") as temporary:
            card.save(Path(temporary) / "README.md")
            model.save_pretrained(temporary)
            # What a config says of its origin outlives fine-tuning, so only equal files are an earlier conversion.
            there = [name for name in _FILES if os.path.lexists(folder / name)]
            _, other, unreadable = filecmp.cmpfiles(temporary, folder, there, shallow=False)
            if other or unreadable:
                raise InvalidInputError(
                    f"{folder} holds {', '.join([*other, *unreadable])} of something else, or changed since an earlier "
                    "conversion, which would be overwritten: give a new folder"
                )
            for name in _FILES:
                os.replace(Path(temporary) / name, folder / name)
    except SgHubError:
        raise
    except OSError as error:
        raise ReadError(
            f"{folder} cannot be written ({error.strerror or error}): give a new folder where you may write and where "
            "there is space"
        ) from error


def card_data(published: _Published) -> ModelCardData:
    """What the head of a card says of published weights."""
    return ModelCardData(
        license="other",
        license_name=LICENCE.lower().replace(" ", "-"),
        license_link=published.home,
        library_name="sg_hub",
        pipeline_tag="image-feature-extraction",
        tags=["medical-imaging", "self-supervised", published.title.lower().replace(" ", "-"), "3d", "ct"],
    )


def _card(model: SemanticGenesis3D, published: _Published, file: str, keras: bool) -> ModelCard:
    card: ModelCard = ModelCard.from_template(
        card_data(published),
        template_str=_TEMPLATE.read_text(encoding="utf-8"),
        published=published,
        file=file,
        keras=keras,
        config=model.config(),
        licence=LICENCE,
        parameters=sum(p.numel() for p in model.parameters()),
    )
    return card
