"""Initialisations against each other on a target task: trials, mean, standard deviation, t-test.

    python -m training compare TARGET --inits semantic-genesis-3d-tiny random:semantic-genesis-3d-tiny
        --trials 5 --out runs/transfer/openkbp-organs [key=value ...]

Every trial is a line of `trials.jsonl`, keyed by target, settings, initialisation (with the weights' sha256) and
seed: a comparison can be stopped, continued and extended, and nothing is computed twice. Writes `<weights>.json` (for
the card), `summary.md` and `curves.png`.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import sg_hub
from sg_hub.errors import InvalidInputError
from training import figures, runs
from training.finetune import ENCODER, RANDOM, Cases, name_of, run_trial
from training.targets import Target


def compare(target: Target, inits: list[str], trials: int, out: str | Path, *, progress: bool = True) -> Path:
    """Run the missing trials and summarise; returns the folder.

    Raises:
        InvalidInputError: an initialisation that cannot be had, or fewer than two trials.
    """
    if trials < 2:
        raise InvalidInputError(f"trials={trials}: a standard deviation needs at least 2")
    out = Path(out)
    table = out / "trials.jsonl"
    done = {row["key"]: row for row in runs.read_metrics(table)}
    cases: dict[str, Cases] = {}
    rows: dict[str, list[dict[str, Any]]] = {init: [] for init in inits}
    for seed in range(trials):  # seed by seed, so that an unfinished comparison is a fair one
        for init in inits:
            key = trial_key(target, init, seed)
            if key not in done:
                preprocessing = sg_hub.from_pretrained(name_of(init)).preprocessing
                shared = cases.setdefault(json.dumps(preprocessing.to_dict()), Cases(target, preprocessing))
                done[key] = {"key": key, **run_trial(target, init, seed, shared, progress=progress)}
                _append(table, done[key])
                print(
                    f"{init} seed {seed}: " + ", ".join(f"{k} {v:.3f}" for k, v in done[key]["iou"].items()), flush=True
                )
            rows[init].append(done[key])
    _summarise(target, rows, out)
    return out


def trial_key(target: Target, init: str, seed: int) -> str:
    """A hash of everything that determines a trial."""
    kind = "random" if init.startswith(RANDOM + ":") else "encoder" if init.startswith(ENCODER + ":") else "weights"
    weights = _architecture(name_of(init)) if kind == "random" else _sha256(name_of(init))
    settings = target.model_dump(exclude={"images", "labels", "split", "title"})
    text = json.dumps([settings, kind, weights, seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _architecture(name: str) -> str:
    """What a random initialisation takes from a model: everything but its weights and their origin."""
    config = sg_hub.from_pretrained(name).config()
    return json.dumps({key: value for key, value in config.items() if key not in ("provenance", "head", "num_classes")})


def welch(a: list[float], b: list[float]) -> dict[str, float]:
    """Two-sample t-test, equal variances not assumed and in the paper's plain form; 95 % interval of the difference."""
    unequal = stats.ttest_ind(a, b, equal_var=False)
    interval = unequal.confidence_interval(0.95)
    return {
        "difference": float(np.mean(a) - np.mean(b)),
        "low": float(interval.low),
        "high": float(interval.high),
        "p": float(unequal.pvalue),
        "p_equal_variances": float(stats.ttest_ind(a, b).pvalue),
    }


def _summarise(target: Target, rows: dict[str, list[dict[str, Any]]], out: Path) -> None:
    lines = [f"# {target.title}", "", _about(target, rows), ""]
    lines += [
        "| initialisation | " + " | ".join(target.classes) + " | mean |",
        "|---" * (len(target.classes) + 2) + "|",
    ]
    scores = {init: _scores(target, trials) for init, trials in rows.items()}
    for init, by_class in scores.items():
        lines.append(f"| {init} | " + " | ".join(_mean(values) for values in by_class.values()) + " |")
    weights = [init for init in rows if not init.startswith(RANDOM + ":")]
    for init in weights:
        random = f"{RANDOM}:{name_of(init)}"
        if random not in rows:
            continue
        summary = _card_summary(target, rows, scores[init], scores[random]) | {"sha256": _sha256(name_of(init))}
        part = "-encoder" if init.startswith(ENCODER + ":") else ""
        summary["title"] += ", encoder alone (the decoder starts afresh)" if part else ", the whole network"
        runs.write_json(out / f"{Path(name_of(init)).name}{part}.json", summary)
        lines += ["", f"{init} against random: {summary['verdict']}"]
    runs.write_atomic(out / "summary.md", "\n".join(lines) + "\n")
    figures.learning_curves({init: [t["curve"] for t in trials] for init, trials in rows.items()}, out / "curves.png")
    print("\n".join(lines))


def _sha256(init: str) -> str | None:
    report = sg_hub.from_pretrained(init).load_report
    return report.sha256 if report else None


def _scores(target: Target, trials: list[dict[str, Any]]) -> dict[str, list[float]]:
    """IoU per class, and their mean, one value per trial."""
    by_class = {name: [trial["iou"][name] for trial in trials] for name in target.classes}
    return by_class | {"mean": [float(np.mean(list(trial["iou"].values()))) for trial in trials]}


def _card_summary(
    target: Target,
    rows: dict[str, list[dict[str, Any]]],
    pretrained: dict[str, list[float]],
    random: dict[str, list[float]],
) -> dict[str, Any]:
    tests = {name: welch(pretrained[name], random[name]) for name in pretrained}
    overall = tests["mean"]
    word = "better" if overall["difference"] > 0 else "worse"
    certainty = "significantly" if overall["p"] < 0.05 else "not significantly"
    return {
        "title": target.title,
        "about": _about(target, rows),
        "dataset_type": target.dataset,
        "dataset_name": target.title,
        "metric": "IoU",
        "rows": [
            {
                "name": name,
                "pretrained": _mean(pretrained[name]),
                "random": _mean(random[name]),
                "difference": f"{t['difference']:+.3f} ({t['low']:+.3f} to {t['high']:+.3f})",
                "p": f"{t['p']:.2g}",
            }
            for name, t in tests.items()
        ],
        "tests": tests,
        "verdict": (
            f"Over the classes these weights are {abs(overall['difference']):.3f} IoU {word} than a random "
            f"initialisation, {certainty} at p = 0.05 (p = {overall['p']:.2g})."
        ),
    }


def _about(target: Target, rows: dict[str, list[dict[str, Any]]]) -> str:
    first = next(iter(rows.values()))
    settings = target.settings
    return (
        f"{len(first)} trials each: {target.train_patients} patients to train on and {target.validation_patients} to "
        f"choose the step, drawn by the trial's seed; {first[0]['test_patients']} test patients, none of them in "
        f"pre-training. {settings.steps} steps of {settings.batch_size} cubes, Adam, learning rate {settings.lr:g} "
        f"({settings.lr * settings.body_lr_factor:g} for all layers but the last). "
        "Mean ± standard deviation over trials."
    )


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def _append(path: Path, row: dict[str, Any]) -> None:
    """One line, written at once: a crash loses at most the running trial."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())
