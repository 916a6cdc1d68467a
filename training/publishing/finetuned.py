"""Weights for a task of one's own: one trial, saved in the same form as every other model.

    sg-hub finetune --init semantic-genesis-3d-tiny --target mytask.toml --out my-model

Writes config.json and model.safetensors (which `sg_hub.from_pretrained` loads), README.md (the card), results.json with
every test item, and two figures. The model's preprocessing is the target's, so that `sg_hub.predict` and
`sg-hub segment` treat new images as the training did.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sg_hub.errors import InvalidInputError
from sg_hub.io.files import write_json

from ..data.leakage import name_hashes
from ..report import figures
from ..targets import identities
from ..trials.finetune import UNFINISHED, Finetuned, finetune
from ..trials.metrics import METRICS
from .finetuned_card import build_finetuned_card


def publish_finetuned(
    init: str,
    target: str,
    out: str | Path,
    overrides: list[str] | tuple[str, ...] = (),
    seed: int = 0,
    *,
    progress: bool = True,
) -> Path:
    """Fine-tune once and save; returns the folder of the model.

    Raises:
        InvalidInputError, ReadError: see `training.trials.finetune`.
    """
    out = Path(out)
    _check_out(out)
    work = out / UNFINISHED
    save_finetuned(finetune(init, target, work, overrides, seed, progress=progress), out)
    shutil.rmtree(work)
    return out


def save_finetuned(found: Finetuned, out: Path) -> None:
    """The model in the published form, with the target's preprocessing, its records, figures and card."""
    with tempfile.TemporaryDirectory(prefix="sg_hub-") as temporary:
        buffer = io.BytesIO()
        np.savez(buffer, **found.examples)
        (Path(temporary) / "examples.npz").write_bytes(buffer.getvalue())
        figures.examples({"": Path(temporary) / "examples.npz"}, out / "examples.png")
    figures.learning_curves({found.init: [found.trial.curve]}, METRICS[found.target.metric], out / "curves.png")
    model = _finished(found)
    model.save_pretrained(out)
    results = _results(found)
    write_json(out / "results.json", results)
    build_finetuned_card(model, found.target, results, out)


def _check_out(out: Path) -> None:
    """Refuse a folder that holds something else than a model, before hours of work.

    Raises:
        InvalidInputError: saying what is there, or that it cannot be made.
    """
    there = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) if out.is_dir() else []
    if there and "config.json" not in there:
        raise InvalidInputError(f"{out} holds other files ({', '.join(there[:4])}): give a new or empty folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"{out} cannot be made a folder ({error.strerror}): give another --out") from error


def _results(found: Finetuned) -> dict[str, Any]:
    return {
        "target": found.target.model_dump(mode="json"),
        "init": found.init,
        "seed": found.seed,
        **found.trial.record(),
        "skipped": found.skipped,
        "test_items": found.trial.test.by_item,
    }


def _finished(found: Finetuned) -> Any:
    """The network with the target's preprocessing and everyone whom the weights have seen."""
    model, target, trial = found.trial.network, found.target, found.trial
    seen = identities(target.dataset, trial.parts["train"] + trial.parts["validation"])
    before = model.provenance
    model.provenance = {
        "data": f"{before['data']}; fine-tuned on {target.title}" if before.get("data") else target.title,
        "recipe": f"finetune {target.name}",
        "init": found.init,
        "commit": trial.record()["commit"],
        "licence": before.get("licence", "unknown"),
        "datasets": sorted({*before.get("datasets", ()), target.dataset}),
        "classes": list(target.classes),
    }
    if "patients" in before:  # else whom the weights saw before is not known, and that must stay visible
        model.provenance["patients"] = sorted({*before["patients"], *name_hashes(seen["train"] + seen["validation"])})
    return model.cpu()
