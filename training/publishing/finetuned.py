"""Weights for a task of one's own: one trial, saved in the same form as every other model.

    sg-hub finetune --init semantic-genesis-3d-tiny --target mytask.toml --out my-model

Writes config.json and model.safetensors (which `sg_hub.from_pretrained` loads), README.md (the card), results.json,
metrics.csv (each class) and two figures. The model's preprocessing is the target's, so that `sg_hub.predict` and
`sg-hub segment` treat new images as the training did. Nothing in the folder but `examples.png` tells of a patient:
results.json has hashes in place of names, and no paths. Which hash is whom stands beside the folder, in
`my-model-items.csv`, which stays here.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.hub.model_folder import sha256_of
from sg_hub.hub.weights_file import WEIGHTS
from sg_hub.io.files import given_path, working_folder, write_atomic, writing_folder

from ..data.leakage import name_hashes
from ..report import figures
from ..report.columns import WORDS, differences
from ..run.processes.process_group import training_device
from ..targets import Target, identities, load_target
from ..trials.finetune import UNFINISHED, Finetuned, finetune
from ..trials.predictions import check_folder, keep
from ..trials.task.initialisation import Initialisation, kind_of, look_up, name_of
from ..trials.task.metrics import METRICS as NAMES_OF_METRICS
from .cards.finetuned import write_finetuned_card
from .cards.results_file import RESULTS, read_object, write_results
from .replacing import CURVES, METRICS, carry_over, check_replaceable

EXAMPLES = "examples.png"
NAMES = ("item", "patient", "item_hash", "patient_hash", "result", "left_out_because")
"""Columns of the table beside the folder."""


def publish_finetuned(
    init: str,
    target: str,
    out: str | Path,
    overrides: list[str] | tuple[str, ...] = (),
    seed: int = 0,
    *,
    predictions: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Fine-tune once and save; returns the folder of the model.

    Args:
        predictions: folder for what the model makes of the test items, under their names.

    Raises:
        InvalidInputError: a folder that holds something else than a fine-tuned model; see also
            `training.trials.finetune`.
        ReadError: a folder that cannot be written; see also there.
    """
    out = given_path(out, "the folder of the fine-tuned model").absolute()
    check_replaceable(out, "give another --out")
    _check_names(_names_file(out))
    work = out / UNFINISHED
    try:
        out.mkdir(parents=True, exist_ok=True)  # now, not after hours of work
    except OSError as error:
        raise ReadError(f"{out} cannot be made a folder ({error.strerror}): give another --out") from error
    try:
        start = look_up(init)
        described = load_target(target, overrides, weights=[start.config["preprocessing"]])
        _check_of(described, start, seed, out)
        kept = None if predictions is None else check_folder(predictions, described, out)
        found = finetune(init, target, work, overrides, seed, device=device, progress=progress)
    finally:  # refused before anything was done: no folder is left
        with contextlib.suppress(OSError):
            out.rmdir()
    if kept is not None:  # while there is a checkpoint: who is stopped here goes on from it
        model = found.trial.network.to(training_device(device))
        keep(model, found.target, found.trial.parts["test"], kept, progress=progress)
    save_finetuned(found, out)
    shutil.rmtree(work, ignore_errors=True)
    print(_said(found, out), flush=True)
    return out


def _check_of(target: Target, start: Initialisation, seed: int, out: Path) -> None:
    """Refuse to replace a model that is of another task, of none, or that was fine-tuned from other weights, by another
    seed or with other settings.

    Raises:
        InvalidInputError: saying what is there.
    """
    if not (out / RESULTS).is_file():
        return
    there = read_object(out / RESULTS)
    of, by = there.get("target", {}), f"one of {target.name}"
    if of.get("name") == target.name:
        was = {"init": there.get("init"), "seed": there.get("seed")} | of
        now = {"init": public_init(start.init), "seed": seed} | public_target(target)
        changed = [f"{key} {old}, now {new}" for key, old, new in differences(was, now) if key not in WORDS]
        if was["init"] == now["init"] and there.get("weights", start.fingerprint) != start.fingerprint:
            changed.insert(0, f"{now['init']} has other weights now")
        if not changed:
            return
        holds, by = f"a model of {target.name} that was fine-tuned otherwise", f"this one ({'; '.join(changed)})"
    elif of.get("name"):
        holds = f"a model of the target {of['name']}"
    else:
        holds = "weights that were not fine-tuned"
    raise InvalidInputError(
        f"{out} holds {holds}, which {by} would replace, so it is left as it is: move it away, or give another --out"
    )


def _said(found: Finetuned, out: Path) -> str:
    """What came of it, in lines: the metric on the test part, each class, what to change, and how to use it."""
    metric, test = found.target.metric, found.trial.test
    by_class = {
        name.removeprefix(f"{metric} "): value for name, value in test.values.items() if name.startswith(f"{metric} ")
    }
    classes = [f"{name} {by_class[name]:.3f}" for name in found.target.classes if name in by_class]
    items = len(found.trial.parts["test"])
    line = f"{NAMES_OF_METRICS[metric]} on the test part ({items} item{'s' * (items != 1)}): {test.value:.3f}"
    lines = [f"{line}; {', '.join(classes)}" if classes else line]
    command = "segment" if found.target.head == "segmentation" else "classify"
    use = f"now `sg-hub {command} {'SCAN' if found.target.data_ndim == 3 else 'IMAGE'} --model {shown_path(out)}`"
    return "\n".join([*lines, *([found.advice] if found.advice else []), use])


def shown_path(path: Path) -> str:
    """As it is typed on a command line: below the current folder ./NAME, so that it is no name of a hub."""
    return shlex.quote(f"./{path.relative_to(Path.cwd())}" if path.is_relative_to(Path.cwd()) else str(path))


def save_finetuned(found: Finetuned, out: Path) -> None:
    """The model in the published form, with the target's preprocessing, its records, figures and card.

    The folder is written completely before it takes the place of an older one.
    """
    check_replaceable(out, "give another --out")  # hours have passed
    _write_names(found, _names_file(out))
    with writing_folder(out) as new:
        _finished(found).save_pretrained(new)
        _draw(found, new)
        write_atomic(new / METRICS, found.classes)
        write_results(new, _results(found, sha256_of(new / WEIGHTS)))
        write_finetuned_card(new, out.name)
        carry_over(out, new)


def _draw(found: Finetuned, folder: Path) -> None:
    """The curves, and the examples under what was found of them, without the names of their items."""
    arrays: dict[str, Any] = {
        key: np.array(str(value).partition("\n")[2]) if key.endswith("_title") else value
        for key, value in found.examples.items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with working_folder(folder.parent) as temporary:
        (temporary / "examples.npz").write_bytes(buffer.getvalue())
        figures.examples({"": temporary / "examples.npz"}, folder / EXAMPLES)
    curves = {public_init(found.init): [found.trial.curve]}
    metric = NAMES_OF_METRICS[found.target.metric]
    figures.learning_curves(curves, metric, folder / CURVES, title=found.target.title)


def public_init(init: str) -> str:
    """An initialisation as it may be published: of a folder its name, not its path."""
    name = name_of(init)
    shown = Path(name).resolve().name if Path(name).exists() or name.count("/") != 1 else name
    return shown if kind_of(init) == "whole" else f"{kind_of(init)}:{shown}"


def _results(found: Finetuned, sha256: str) -> dict[str, Any]:
    """What may be published: no name of an item or patient, no path."""
    record = found.trial.record()
    if "doubtful" in record:  # why, but not of whom
        why = record["doubtful"]["items"]
        record["doubtful"]["items"] = dict(zip(_hashes(found.target, why), why.values(), strict=True))
    return {
        "target": public_target(found.target),
        "init": public_init(found.init),
        "weights": found.trial.trial.start.fingerprint,
        "seed": found.seed,
        "steps": found.target.settings.steps,
        "sha256": sha256,
        "advice": found.advice,
        **record,
        "skipped": _hashes(found.target, found.skipped),
        "test_items": [
            row | {key: _hashes(found.target, [row[key]])[0] for key in ("item", "patient")}
            for row in found.trial.test.by_item
        ],
    }


def _hashes(target: Target, names: Iterable[str]) -> list[str]:
    """As the weights' provenance and the check for leakage have them, in the order of the names."""
    return [name_hashes([f"{target.dataset}/{name}"])[0] for name in names]


def public_target(target: Target) -> dict[str, Any]:
    """The settings of a task, without where its data lie and whom they name."""
    settings = target.model_dump(mode="json", exclude={"root", "exclude", "doubtful"})
    settings["splits"]["file"] = None
    return {key: value for key, value in settings.items() if not (isinstance(value, str) and _leads_away(value))}


def _leads_away(value: str) -> bool:
    """Whether a setting is a path of this machine, or of another one: absolute, of a home, or to above the data."""
    parts = value.replace("\\", "/").split("/")
    return (
        Path(value).is_absolute() or PureWindowsPath(value).is_absolute() or parts[0].startswith("~") or ".." in parts
    )


def _names_file(out: Path) -> Path:
    return out.with_name(f"{out.name}-items.csv")


def _check_names(path: Path) -> None:
    """Refuse to replace a file that is another table.

    Raises:
        InvalidInputError: saying so.
    """
    if path.exists() and not (path.is_file() and path.read_bytes().startswith(",".join(NAMES).encode())):
        raise InvalidInputError(
            f"{path}, for the names of the test items, is there and was not written by this command, so it is left as "
            "it is: move it away, or give another --out"
        )


def _write_names(found: Finetuned, path: Path) -> None:
    """Which hash in results.json is which item, how each test item went, and what was left out and why."""
    target, text = found.target, io.StringIO()
    rows = [
        (row["item"], row["patient"], *_hashes(target, [row["item"], row["patient"]]), _scores(row), "")
        for row in found.trial.test.by_item
    ]
    rows += [(item, "", *_hashes(target, [item]), "", "", why) for item, why in sorted(found.skipped.items())]
    csv.writer(text, lineterminator="\n").writerows([NAMES, *rows])
    write_atomic(path, text.getvalue())


def _scores(row: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in row.items() if key not in ("item", "patient")})


def _finished(found: Finetuned) -> Any:
    """The network with the target's preprocessing and everyone whom the weights have seen."""
    model, target, trial = found.trial.network, found.target, found.trial
    seen = identities(target.dataset, trial.parts["train"] + trial.parts["validation"])
    before = model.provenance
    licence = {key: before[key] for key in before if key.startswith("licence") or key in ("checkpoint", "citation")}
    model.provenance = {
        "data": f"{before['data']}; fine-tuned on {target.title}" if before.get("data") else target.title,
        "recipe": f"finetune {target.name}",
        "init": public_init(found.init),
        "commit": trial.record()["commit"],
        **({"licence": "unknown"} | licence),
        "datasets": sorted({*before.get("datasets", ()), target.dataset}),
        "classes": list(target.classes),
    }
    if "patients" in before:  # else whom the weights saw before is not known, and that must stay visible
        model.provenance["patients"] = sorted({*before["patients"], *name_hashes(seen["train"] + seen["validation"])})
        known = not before["patients"] or "images" in before
        if known and all(found.images.values()):  # else a part of them would be taken for all
            new = {one for images in found.images.values() for one in images}
            model.provenance["images"] = sorted({*before.get("images", ()), *new})
    return model.cpu()
