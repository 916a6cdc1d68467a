"""Published checkpoints to model folders that from_pretrained loads: read, rename, check, write.

Nothing of a file is ever executed: a torch file is read by `torch.load(weights_only=True)`, an HDF5 file as arrays.
What is known of each release is in `releases/`.
"""

from __future__ import annotations

import filecmp
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sg_hub.conversion.keras_file import read_keras
from sg_hub.conversion.release import Release, releases
from sg_hub.conversion.tensorflow_files import index_of, read_tensorflow
from sg_hub.conversion.torch_files import PICKLE, ZIP, read_torch
from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.hub.card import CARD, NOTICE, build_card, notice_of
from sg_hub.hub.config_file import CONFIG
from sg_hub.hub.model_folder import new_folder, sha256_of, write_model
from sg_hub.hub.weights_file import WEIGHTS, read_weights
from sg_hub.io.files import given_path, working_folder
from sg_hub.io.formats.others import other_format
from sg_hub.models.input_checks import impossible

logger = logging.getLogger("sg_hub")

_HDF5 = b"\x89HDF\r\n\x1a\n"
_COUNTS = (torch.int32, torch.int64)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_FILES = (WEIGHTS, CONFIG, CARD, NOTICE)


def convert(file: str | os.PathLike[str], out_dir: str | os.PathLike[str], *, norm: str | None = None) -> Path:
    """Write a model folder (config.json, model.safetensors, README.md, NOTICE) from a published checkpoint.

    The folder is loaded by `sg_hub.from_pretrained(out_dir)`, with every option that it has. The weights keep the
    licence that they were published with, which the card and NOTICE say.

    Args:
        file: `semantic_genesis_chest_ct.pt`, `Genesis_Chest_CT.pt` (Models Genesis: it has no classifier, so
            the folder's head is `restoration`; any file without one is taken for it), the Keras `.h5` of
            Semantic Genesis (h5py reads it), or the file of another release (`sg-hub models` lists them). Known by what
            is in it, not by its name. A state dict is accepted bare, within a checkpoint, and as safetensors, with or
            without the prefixes of how it was trained; keys that the network has no place for are left out, and listed
            in the config's provenance.
        out_dir: a new or empty folder; one that holds exactly what this conversion writes is left as it is.
        norm: `batch_stats` normalises by the batch's own statistics, in evaluation too, as these weights were trained
            and read out; outputs then depend on the batch. `batch` uses the running statistics in the file. Absent:
            as published. from_pretrained(..., norm=...) changes it later, too.

    Returns:
        The folder.

    Raises:
        ReadError: no such file, one that is empty, damaged, or holds other things than tensors, or a folder that
            cannot be written.
        InvalidInputError: another network (missing and unexpected keys, wrong shapes and impossible values are
            named), an impossible norm, or a folder that holds a model or other files.
    """
    known = releases()
    wanted = f"expected {', '.join(release.files for release in known)}, as published"
    source = given_path(file, f"the checkpoint; {wanted}")
    folder = given_path(out_dir, "a new folder for the converted model")
    _check_folder(folder)
    source = index_of(source) or source
    try:
        tensors, labels = _read(source, known)
        release, published, left_out = _nearest(tensors, known, source)
        state = _renamed(published, release, labels, source)
    except (ReadError, InvalidInputError) as error:
        said = str(error) if str(source) in str(error) else f"{source}: {error}"
        raise type(error)(f"{said}; {wanted}") from error
    norm = release.norms[0] if norm is None else norm
    if norm not in release.norms:
        raise InvalidInputError(
            f"norm={norm!r}: expected one of {', '.join(release.norms)} for {release.title} (another one, where the "
            "network has it, can be given to from_pretrained)"
        )
    with torch.device("meta"):
        model = release.build(published, norm, _provenance(release, source, left_out))
    model.load_state_dict(state, strict=True, assign=True)
    _write(model, release, folder, source.name, keras=bool(labels))
    for key in left_out:
        logger.info("%s: left out %s", source.name, shortened(key))
    return folder


def _read(source: Path, known: list[Release]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What a checkpoint holds by its published names, and (of Keras and TensorFlow) what the file calls each tensor."""
    if not os.path.isfile(source):
        raise ReadError(f"{source} {'is a folder' if os.path.isdir(source) else 'does not exist'}")
    try:
        with source.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ReadError(f"{source} cannot be read: {error.strerror or error}") from error
    if index_of(source) == source:
        return _by_layers([release.from_tensorflow for release in known], read_tensorflow(source), source)
    if start.startswith((ZIP, PICKLE)):
        return read_torch(source, zipped=start.startswith(ZIP)), {}
    if _is_safetensors(start, source.stat().st_size):
        return read_weights(source, None)[0], {}
    if not start.startswith(_HDF5):
        other = other_format(start) if start else "is empty"
        raise ReadError(f"{source} {other or 'is no file of torch.save, no safetensors and no HDF5 file'}")
    return _by_layers([release.from_keras for release in known], read_keras(source), source)


def _by_layers(readers: list[Any], content: Any, source: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What the first release that knows the layers of a file makes of them.

    Raises:
        InvalidInputError: none does.
    """
    refusals = []
    for reader in readers:
        try:
            if reader is not None:
                found: tuple[dict[str, Tensor], dict[str, str]] = reader(content, source)
                return found
        except InvalidInputError as error:
            refusals.append(error)
    raise refusals[0]


def _is_safetensors(start: bytes, size: int) -> bool:
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < size


def _nearest(
    tensors: dict[str, Tensor], known: list[Release], source: Path
) -> tuple[Release, dict[str, Tensor], list[str]]:
    """The release whose tensors are called most like those of a checkpoint, the checkpoint's tensors without the
    prefixes of how that release was trained, and the keys that were left out.

    Raises:
        InvalidInputError: a file of none of them, or with a tensor twice.
    """
    distances = []
    for index, release in enumerate(known):
        if release.marks and not any(mark in key for mark in release.marks for key in tensors):
            continue
        published, *others = _without_prefixes(tensors, release)
        names = _names(release, _shapes(release, published))
        if names.keys() & published.keys():
            distances.append((len(names.keys() ^ published.keys()), index, published, others))
    if not distances:
        titles = ", ".join(release.title for release in known)
        raise InvalidInputError(
            f"{source} is of none of the networks that are known ({titles}): it holds {_some(list(tensors), 6)}"
        )
    _, index, published, (left_out, twice) = min(distances, key=lambda entry: entry[:2])
    if twice:
        raise InvalidInputError(f"two of its keys are {shortened(twice[0])} without their prefixes")
    return known[index], published, left_out


def _without_prefixes(tensors: dict[str, Tensor], release: Release) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """The tensors by their published names, the keys that are left out, and the names that come twice."""
    published: dict[str, Tensor] = {}
    left_out, twice = [], []
    for key, value in tensors.items():
        if any(part in key for part in release.repeated):
            continue
        if any(part in key for part in release.left_out):
            left_out.append(key)
            continue
        name = key
        while name.startswith(release.prefixes):
            name = name.split(".", 1)[1]
        if name in published:
            twice.append(name)
        published[name] = value
    return published, sorted(left_out), twice


def _shapes(release: Release, published: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the model of a release holds, as tensors without memory."""
    with torch.device("meta"):
        state: dict[str, Tensor] = release.build(published, release.norms[0], {}).state_dict()
    return state


def _names(release: Release, own: Iterable[str]) -> dict[str, str]:
    """Published names to those of the model, of what a file must hold."""
    return release.published_names(key for key in own if not (release.afresh and key.startswith(release.afresh)))


def _renamed(published: dict[str, Tensor], release: Release, labels: dict[str, str], source: Path) -> dict[str, Tensor]:
    """The checkpoint's tensors under the names of the model, in the types that it has.

    Raises:
        InvalidInputError: keys that are missing or unexpected, wrong shapes or types, or impossible values.
    """
    target = _shapes(release, published)
    names = _names(release, target)
    problems: dict[str, list[str]] = {
        "keys are missing": [key for key in names if key not in published],
        "are unexpected": [key for key in published if key not in names],
    }
    renamed: dict[str, Tensor] = {}
    for key, name in names.items():
        if key not in published:
            continue
        label = f"{key} ({labels[key]} in the file)" if key in labels else key
        value = published[key].detach()
        wrong = _wrong_shape(release.tensor(key, value.to("meta")), target[name])  # before any memory is taken for it
        if wrong is None:
            value = release.tensor(key, value)
            wrong = _wrong(key, value, target[name])
        if wrong is not None:
            problem, details = wrong
            problems.setdefault(problem, []).append(label + details)
        else:
            renamed[name] = value.to(target[name].dtype).clone(memory_format=torch.contiguous_format)
    found = [f"{len(keys)} {problem}: {_some(keys)}" for problem, keys in problems.items() if keys]
    if found:
        raise InvalidInputError(f"{source} is not a published checkpoint of {release.title}. {'. '.join(found)}")
    started = set(names.values())
    return renamed | {key: torch.zeros_like(value, device="cpu") for key, value in target.items() if key not in started}


def _wrong_shape(value: Tensor, wanted: Tensor) -> tuple[str, str] | None:
    """What is wrong with the shape of a tensor; None: nothing."""
    if value.shape == wanted.shape:
        return None
    return "have the wrong shape", f" has {tuple(value.shape)}, expected {tuple(wanted.shape)}"


def _wrong(key: str, value: Tensor, wanted: Tensor) -> tuple[str, str] | None:
    """What is wrong with a tensor of the right shape, and its details; None: nothing."""
    count = key.endswith("num_batches_tracked")
    if value.dtype not in (_COUNTS if count else _FLOATS):
        return "have the wrong type", f" is {value.dtype}, expected {'whole' if count else 'floating-point'} numbers"
    said = impossible(key, value.to(wanted.dtype))
    return (f"hold {said}", "") if said else None


def _some(keys: list[str], most: int = 12) -> str:
    shown = ", ".join(shortened(key, 120) for key in keys[:most])
    return shown + (f", and {len(keys) - most} more" if len(keys) > most else "")


def _provenance(release: Release, source: Path, left_out: list[str]) -> dict[str, Any]:
    from sg_hub.version import __version__

    about = {"file": source.name, "file_sha256": sha256_of(source), "left_out": left_out}
    return release.provenance() | about | {"converted_by": f"sg_hub {__version__}"}


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
            f"{folder} holds other files ({_some(others, 6)}): give a new or empty folder for the converted model"
        )


def _write(model: Any, release: Release, folder: Path, file: str, keras: bool) -> None:
    """The model and its card; what is in the folder already has to be the same."""
    texts = {CARD: str(_card(model, release, file, keras)), NOTICE: notice_of(model.provenance) or ""}
    content = (model.state_dict(), type(model).__name__, model.config(), texts)
    there = [name for name in _FILES if os.path.lexists(folder / name)]
    if there:
        with working_folder() as temporary:
            write_model(temporary, *content)
            # What a config says of its origin outlives fine-tuning, so only equal files are an earlier conversion.
            _, other, unreadable = filecmp.cmpfiles(temporary, folder, there, shallow=False)
        if other or unreadable:
            raise InvalidInputError(
                f"{folder} holds {', '.join([*other, *unreadable])} of something else, or changed since an earlier "
                "conversion, which would be overwritten: give a new folder"
            )
        if len(there) == len(_FILES):
            return
    write_model(new_folder(folder), *content)


def _card(model: Any, release: Release, file: str, keras: bool) -> Any:
    return build_card(
        type(model).__name__,
        model.config(),
        parameters=sum(p.numel() for p in model.parameters()),
        usage="this/folder",
        head=model.head,
        title=f"{release.title}, converted",
        about=f"The weights of {release.title} as its authors published them: a network {release.about} on "
        f"{release.data}. Converted from `{file}` by sg_hub; nothing was trained or measured on the way.",
        notes=[*release.notes, *([release.keras_note] if keras and release.keras_note else [])],
    )
