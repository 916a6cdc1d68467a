"""Damaged model folders and published checkpoints, for everything that loads weights."""

from __future__ import annotations

import functools
import io
import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

import sg_hub
from tests.reliability.fuzz.mutations import damage, edit_json, edited_json, overwrite
from tests.reliability.harness import Files, Kind
from tests.reliability.processes import of_a_fork
from tests.sg_hub.conversion.published import SHAPES, checkpoint, light, without_classifier, write_keras
from training.publishing.upload import upload_folder

CARD = "README.md"
_TYPES = (torch.float16, torch.float64, torch.int64, torch.bool, torch.complex64)
_SIDES = (0, 1, 2, 3, 64, 1 << 20, 1 << 40)


# -- parsers, which run in the worker -----------------------------------------------------------------------------


def load(path: Path) -> None:
    """What comes out has to compute."""
    model = sg_hub.from_pretrained(path)
    assert len(model.preprocessing.input_size) == model.NDIM
    json.dumps(model.config())


def convert(path: Path) -> None:
    """What comes out has to be a model folder."""
    out = path.parent / "out"
    try:
        sg_hub.convert(path, out)
        assert sg_hub.from_pretrained(out).in_chans in (1, 3)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def save_again(path: Path) -> None:
    """A card that was loaded has to go on with the weights, and what the hub would be sent has to be told."""
    out = path / "out"
    try:
        model = sg_hub.from_pretrained(path)
        model.save_pretrained(out)
        assert (out / CARD).is_file()
    finally:
        shutil.rmtree(out, ignore_errors=True)
    upload_folder(path, "owner/name", progress=False, dry_run=True)


# -- inputs -------------------------------------------------------------------------------------------------------


def _config(rng: random.Random) -> Files:
    files = dict(_folders()[rng.randrange(2)])
    config = json.loads(files["config.json"])
    if rng.random() < 0.5:  # as in configs that were written before there was a hash
        del config["weights_sha256"]
    files["config.json"] = edited_json(json.dumps(config).encode(), rng)
    return files, "."


def _weights(rng: random.Random) -> Files:
    """The header's entries changed, its bytes, or any of the file."""
    files = dict(_folders()[rng.randrange(2)])
    config = json.loads(files["config.json"])
    del config["weights_sha256"]
    raw = files["model.safetensors"]
    length = int.from_bytes(raw[:8], "little")
    if rng.random() < 0.6:
        header = json.dumps(edit_json(json.loads(raw[8 : 8 + length]), rng)).encode()
        raw = len(header).to_bytes(8, "little") + header + raw[8 + length :]
    else:
        raw = damage(raw, rng, rng.choice((8, 8 + length, None)))
    return files | {"config.json": json.dumps(config).encode(), "model.safetensors": raw}, "."


def _card(rng: random.Random) -> Files:
    files = dict(_folders()[0])
    text = files[CARD]
    head, _, body = text.decode()[4:].partition("\n---\n")
    how = rng.randrange(3)
    if how == 0:
        text = damage(text, rng)
    elif how == 1:
        text = b"---\n" + damage(head.encode(), rng) + f"\n---\n{body}".encode()
    else:
        lines = head.split("\n")
        for _ in range(rng.choice((1, 2))):
            place = rng.randrange(len(lines))
            key = lines[place].partition(":")[0]
            hurting = (
                "[",
                "{a: b",
                "!!python/object/apply:os.system [ls]",
                "&a [*a]",
                "null",
                "1e999",
                "-",
                "x" * 9999,
            )
            lines[place] = rng.choice((f"{key}: {rng.choice(hurting)}", lines[place] + "\n" + lines[place], "", "- "))
        text = ("---\n" + "\n".join(lines) + f"\n---\n{body}").encode()
    return files | {CARD: text}, "."


def _published(rng: random.Random) -> Files:
    state = light(rng.choice((44, 44, 1, 7)))
    if rng.random() < 0.3:
        state = without_classifier(state)
    content: Any = checkpoint(state, rng.choice(("module.", "", "classficationNet.", "module.module.")))
    how = rng.randrange(4)
    if how == 0:
        content["state_dict"] = other_tensors(content["state_dict"], rng)
    elif how == 1:
        content = rng.choice(
            (content["state_dict"], {"state_dict": content}, [content], content["best_loss"], {}, None)
        )
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=rng.random() < 0.7)
    raw = file.getvalue()
    return {"a.pt": damage(raw, rng, rng.choice((2000, None))) if how >= 2 else raw}, "a.pt"


def other_tensors(state: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Keys left out, added or called otherwise, and tensors of another shape, type, layout or value."""
    for _ in range(rng.choice((1, 2, 5))):
        whole = sorted(key for key, value in state.items() if isinstance(value, torch.Tensor))
        if not whole:
            break
        key, how = rng.choice(whole), rng.randrange(6)
        value = state[key]
        if how == 0:
            del state[key]
        elif how == 1:
            state[rng.choice((key.upper(), f"module.{key}", "", "a" * 50_000))] = value
        elif how == 2 and value.ndim:
            sides = list(value.shape)
            sides[rng.randrange(len(sides))] = rng.choice(_SIDES)
            state[key] = torch.zeros(()).expand(sides)
        elif how == 3:
            state[key] = torch.zeros((), dtype=rng.choice(_TYPES)).expand(value.shape)
        elif how == 4:
            state[key] = torch.full((), rng.choice((float("nan"), float("inf"), 1e30))).expand(value.shape)
        else:
            state[key] = rng.choice((None, "abc", 3, [1, 2], {"a": 1}, torch.zeros(3).to_sparse()))
    return state


def _keras(rng: random.Random) -> Files:
    harm = rng.choice((damage, overwrite, overwrite, overwrite))
    return {"a.h5": harm(rng.choice(_keras_files()), rng, rng.choice((4000, None)))}, "a.h5"


# -- what is damaged ----------------------------------------------------------------------------------------------


@functools.cache
def _folders() -> tuple[dict[str, bytes], ...]:
    """A model of scans and one of images, as they are saved."""
    return of_a_fork(_saved)


def _saved() -> tuple[dict[str, bytes], ...]:
    known, names = {"licence": "apache-2.0"}, ("background", "a", "b")
    models = (
        sg_hub.SemanticGenesis3D(width=2, head="segmentation", num_classes=3, class_names=names, provenance=known),
        sg_hub.SemanticGenesis2D(encoder="test_resnet", decoder_width=2, num_classes=3),
    )
    found = []
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            found.append({path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())})
    return tuple(found)


@functools.cache
def _keras_files() -> tuple[bytes, ...]:
    """The published network's layers, each weight a thousandth of what it is: the right names, and a small file."""

    def weights(shape: tuple[int, ...]) -> Any:
        return torch.zeros([max(1, side // 32) for side in shape]).numpy()

    convolutions = [key for key in sorted(SHAPES) if key.endswith("weight") and len(SHAPES[key]) == 5]
    layers = [("conv3d", {"kernel": weights(SHAPES[key]), "bias": weights((64,))}) for key in convolutions[:16]]
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    layers += [("batch_normalization", {name: weights((64,)) for name in names})] * 15
    layers += [("dense", {"kernel": weights((1024, 44)), "bias": weights((44,))})]
    model = {"config": {"layers": [{"class_name": "BatchNormalization", "config": {"name": "b", "epsilon": 1e-3}}]}}
    found = []
    for style in ("keras2", "keras3", "nested"):
        with tempfile.TemporaryDirectory() as folder:
            path = write_keras(Path(folder) / "a.h5", layers, style=style, config=model)
            found.append(path.read_bytes())
    return tuple(found)


KINDS = {
    "config.json": Kind(load, _config),
    "model.safetensors": Kind(load, _weights),
    "model card": Kind(save_again, _card, weight=0.5),
    "published .pt": Kind(convert, _published),
    "published .h5": Kind(convert, _keras),
}
