"""Weights for a task of your own: one trial, saved in the same form as every other model.

    python -m training finetune --init semantic-genesis-3d-tiny --target mytask.toml --out my-model

Writes config.json and model.safetensors (which `sg_hub.from_pretrained` loads), README.md (the card), results.json with
every test case, and two figures. The model's preprocessing is the target's, so that `sg_hub.predict` and
`sg-hub segment` treat new images as the training did.
"""

from __future__ import annotations

import dataclasses
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData

import sg_hub
from sg_hub import ImagePreprocessing
from sg_hub.errors import InvalidInputError
from sg_hub.io.files import write_json

from ..data.leakage import check_unseen, name_hashes
from ..report import figures
from ..targets import Target, identities
from .cells import examples
from .initialise import initialise, name_of
from .metrics import METRICS
from .task import Task, find_task, read_task
from .trial import Trial, run_trial


def finetune(
    init: str,
    target: str,
    out: str | Path,
    overrides: list[str] | tuple[str, ...] = (),
    seed: int = 0,
    *,
    progress: bool = True,
) -> Path:
    """Fine-tune once and save; returns the folder of the model.

    Args:
        init: name or folder of weights, `random:NAME` or `encoder:NAME`.
        target: TOML file, or a shipped name.

    Raises:
        InvalidInputError, ReadError: see `training.targets` and `training.trials.initialise`.
    """
    out = Path(out)
    _check_out(out)
    with tempfile.TemporaryDirectory(prefix="sg_hub-") as temporary:
        read, found = find_task(target, overrides=overrides)
        _check_publishable(read)
        provenance = initialise(init, read, seed).provenance
        unchecked = check_unseen(provenance, read.dataset, identities(read, found.cases)["test"])
        if unchecked:
            print(f"warning: {init}: {unchecked}", flush=True)
        _make(out)
        task = read_task(read, found, temporary, progress=progress)
        trial = run_trial(task.target, init, seed, task.samples, task.cases, progress=progress)
        buffer = io.BytesIO()
        np.savez(buffer, **examples(task, trial))
        (Path(temporary) / "examples.npz").write_bytes(buffer.getvalue())
        figures.examples({"": Path(temporary) / "examples.npz"}, out / "examples.png")
    figures.learning_curves({init: [trial.curve]}, METRICS[task.target.metric], out / "curves.png")
    results = _results(task, init, seed, trial)
    _save(trial.model, task.target, init, trial, out, results)
    return out


def _check_out(out: Path) -> None:
    """Refuse a folder that holds something else than a model.

    Raises:
        InvalidInputError: saying what is there.
    """
    there = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) if out.is_dir() else []
    if there and "config.json" not in there:
        raise InvalidInputError(f"{out} holds other files ({', '.join(there[:4])}): give a new or empty folder")


def _make(out: Path) -> None:
    """Make the folder before hours of work, not after them.

    Raises:
        InvalidInputError: it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"{out} cannot be made a folder ({error.strerror}): give another --out") from error


def _check_publishable(target: Target) -> None:
    """Refuse what the preprocessing of a saved model cannot say: it would treat new images otherwise than the training.

    Raises:
        InvalidInputError: saying what to change.
    """
    if target.sliced:
        raise InvalidInputError(
            f"target {target.name}: a 2D network on the slices of 3D data can be benchmarked, not saved as a model for "
            "new scans: use a 3D network (ndim = 3)"
        )
    if target.ndim == 2 and target.grid.size is None:
        raise InvalidInputError(
            f"target {target.name}: give grid.size = [rows, columns], to which new images are fitted"
        )


def _results(task: Task, init: str, seed: int, trial: Trial) -> dict[str, Any]:
    return {
        "target": task.target.model_dump(mode="json"),
        "init": init,
        "seed": seed,
        **trial.record(),
        "skipped": task.skipped,
        "test_cases": trial.test.by_case,
    }


def _save(model: Any, target: Target, init: str, trial: Trial, out: Path, results: dict[str, Any]) -> None:
    """The model in the published form, with the target's preprocessing and everyone whom the weights have seen."""
    seen = identities(target, trial.parts["train"] + trial.parts["validation"])
    before = model.provenance
    model.provenance = {
        "data": f"{before['data']}; fine-tuned on {target.title}" if before.get("data") else target.title,
        "recipe": f"finetune {target.name}",
        "init": init,
        "commit": results["commit"],
        "licence": before.get("licence", "unknown"),
        "datasets": sorted({*before.get("datasets", ()), target.dataset}),
        "classes": list(target.classes),
    }
    if "patients" in before:  # else whom the weights saw before is not known, and that must stay visible
        model.provenance["patients"] = sorted({*before["patients"], *name_hashes(seen["train"] + seen["validation"])})
    if target.ndim == 3:
        x, y, z = target.patch
        preprocessing = dataclasses.replace(target.grid.preprocessing(), input_size=(x, y, z))
        model.preprocessing = preprocessing if target.WHOLE_SCANS else dataclasses.replace(preprocessing, size=None)
    else:
        model.preprocessing = ImagePreprocessing(model.preprocessing.modality, input_size=target.grid.size)  # type: ignore[arg-type]
    out.mkdir(parents=True, exist_ok=True)
    model.cpu().save_pretrained(out)
    write_json(out / "results.json", results)
    _card(model, target, results, out)


def _card(model: Any, target: Target, results: dict[str, Any], out: Path) -> None:
    licence = model.provenance["licence"]
    segments = target.head == "segmentation"
    evaluations = [
        EvalResult(
            task_type="image-segmentation" if segments else "image-classification",
            task_name=target.title,
            dataset_type=target.dataset,
            dataset_name=target.title,
            dataset_split="test",
            metric_type="roc_auc" if name.startswith("auc") else name.partition(" ")[0],
            metric_name=name,
            metric_value=round(value, 5),
        )
        for name, value in results["values"].items()
    ]
    data = ModelCardData(
        model_name=out.resolve().name,
        license=licence if licence != "unknown" else None,
        library_name="sg_hub",
        pipeline_tag="image-segmentation" if segments else "image-classification",
        tags=["medical-imaging", "semantic-genesis", f"{target.ndim}d"],
        eval_results=evaluations,
    )
    template = Path(__file__).with_name("finetune_card.md.jinja")
    card = ModelCard.from_template(
        data,
        template_str=template.read_text(encoding="utf-8"),
        name=out.resolve().name,
        target=target,
        results=results,
        base=name_of(results["init"]),
        config=model.config(),
        labels=["background", *target.classes] if segments else list(target.classes),
        version=sg_hub.__version__,
    )
    card.save(out / "README.md")
