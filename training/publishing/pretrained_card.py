"""The card of a model folder, from the run's own records beside it.

sg-hub card FOLDER                      (rebuilds README.md from the records, or from reported.toml)
sg-hub card FOLDER --results BENCHMARK  (first takes in what a benchmark found of these weights)
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from sg_hub.errors import ReadError
from sg_hub.io.files import write_json

from ..methods.registry import method_of, resolve
from ..report.reported import reported
from ..run.recipe import load_recipe, resolved, with_newer_keys
from ..run.record import read_json
from .reported_card import build_reported_card

DESCRIPTION = "A {ndim}D U-Net pre-trained by self-discovery, self-classification and self-restoration on {data}."
NORMS = {
    "batch_stats": "by the batch's own statistics, in evaluation too: outputs depend on the batch",
    "batch": "batch normalisation with running statistics",
    "instance": "instance normalisation",
}
PAPER = {False: "semantic-genesis-3d", True: "semantic-genesis-2d"}
"""The recipe of the paper's own setting, for scans and for images."""


def build_card(folder: str | Path) -> Path:
    """Write README.md of a model folder from its config.json and results.json; returns it.

    Weights that others published (training/reported.toml) have neither: their card is built from what is reported.

    Raises:
        ReadError: one of the two is missing.
    """
    folder = Path(folder)
    if folder.name in reported() and not (folder / "results.json").exists():
        return build_reported_card(folder)
    config = read_json(folder / "config.json", "publish")
    results = read_json(folder / "results.json", "publish")
    name = folder.name
    template = Path(__file__).with_name("pretrained_card.md.jinja")
    images = config["architecture"] == "SemanticGenesis2D"
    counts = results["images"] if images else results["patients"]
    card = ModelCard.from_template(
        _card_data(name, config, results),
        template_str=template.read_text(encoding="utf-8"),
        name=name,
        images=images,
        pieces="patches" if images else "cubes",
        whose="images" if images else "patients",
        description=DESCRIPTION.format(ndim=2 if images else 3, data=config["provenance"]["data"]),
        config=config,
        provenance=config["provenance"],
        results=results,
        evaluation=results["evaluation"],
        discover=results["recipe"]["discover"],
        pretrain=results["recipe"]["pretrain"] | method_of(results["recipe"]).described(),
        parameters=results["parameters"],
        channels=results["feature_channels"] if images else 16 * config["width"],
        size=" x ".join(map(str, config["preprocessing"]["input_size"])),
        norms=NORMS,
        differences=_differences(results["recipe"], PAPER[images]),
        share=min(1.0, results["recipe"]["discover"]["neighbours"] / counts["train"]),
    )
    card.save(folder / "README.md")
    return folder / "README.md"


def take_results(folder: str | Path, benchmark: str | Path) -> int:
    """Put what `training report` says of a model's weights into its results.json; returns the number of tasks.

    Tasks that the card showed before stay, but for those of the same title.

    Raises:
        ReadError: the folder has no results.json, or the report says nothing of exactly these weights.
    """
    folder = Path(folder)
    results = read_json(folder / "results.json", "publish")
    found = transfer_of(folder.resolve().name, Path(benchmark), sha256_of(folder / "model.safetensors"))
    if not found:
        raise ReadError(
            f"{benchmark} has no results of the weights in {folder} against a random initialisation: run `sg-hub "
            "benchmark` with both, then `sg-hub report` on it"
        )
    titles = {summary["title"] for summary in found}
    kept = [summary for summary in results["transfer"] if summary["title"] not in titles]
    write_json(folder / "results.json", results | {"transfer": kept + found})
    return len(found)


def transfer_of(name: str, benchmark: Path, sha256: str) -> list[dict[str, Any]]:
    """What `benchmark --out <benchmark>` and `report` found, with exactly these weights."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(benchmark.glob(f"*/{name}*.json"))]
    return [summary for summary in found if summary["sha256"] == sha256]


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _differences(used: dict[str, Any], recipe: str) -> str:
    """In what a recipe is not the paper's, in words."""
    used = with_newer_keys(used)
    paper = resolved(resolve(load_recipe(recipe)))
    ignored = {"workers", "cache_mib", "picture_every", "checkpoint_every", "chunk", "epochs", "size", "batch_size"}
    ignored |= {"samples_per_epoch"}
    return ", ".join(
        f"{section}.{key} {json.dumps(value)} (paper {json.dumps(paper[section][key])})"
        for section in ("model", "prepare", "discover", "method", "pretrain")
        for key, value in used[section].items()
        if key not in ignored and value != paper[section].get(key)
    )


def _card_data(name: str, config: dict[str, Any], results: dict[str, Any]) -> ModelCardData:
    measured = results["evaluation"]
    dataset: dict[str, Any] = {"dataset_type": results["publish"]["dataset"]}
    dataset |= {"dataset_name": config["provenance"]["data"], "dataset_split": measured["split"]}
    rows = [
        ("image-classification", "Pattern classification", "accuracy", "top-1, clean cubes", measured["top1"]),
        ("image-classification", "Pattern classification", "accuracy", "top-1, corrupted", measured["top1_corrupted"]),
        ("image-to-image", "Restoration", "mse", "mean squared error", measured["mse"]),
    ]
    evaluations = [
        EvalResult(
            task_type=task,
            task_name=title,
            metric_type=metric,
            metric_name=metric_name,
            metric_value=round(value, 5),
            **dataset,
        )
        for task, title, metric, metric_name, value in rows
    ]
    for transfer in results["transfer"]:
        evaluations += [
            EvalResult(
                task_type=transfer.get("task_type", "image-segmentation"),
                task_name=f"{transfer['title']}: {row['name']}",
                dataset_type=transfer["dataset_type"],
                dataset_name=transfer["dataset_name"],
                dataset_split="test",
                metric_type=transfer.get("metric_type", "iou"),
                metric_name=f"{transfer['metric']}, mean over trials",
                metric_value=float(row["pretrained"].split()[0]),
            )
            for row in transfer["rows"]
        ]
    return ModelCardData(
        model_name=name,
        license=config["provenance"]["licence"],
        library_name="sg_hub",
        pipeline_tag="image-feature-extraction",
        datasets=[results["publish"]["dataset"]],
        tags=[
            "medical-imaging",
            "self-supervised",
            "semantic-genesis",
            "2d" if config["architecture"] == "SemanticGenesis2D" else "3d",
            config["preprocessing"]["modality"].lower(),
        ],
        eval_results=evaluations,
    )
