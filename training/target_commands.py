"""The commands around target tasks: benchmark, merge, report, finetune, targets. They have no recipe."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from .run.settings import shipped
from .targets import TASKS


def _benchmark(options: argparse.Namespace) -> None:
    from .trials.benchmark import benchmark

    engine = None
    if options.ray:
        from .trials.on_ray import engine as on_ray

        engine = on_ray(options.cpus_per_trial, options.gpus_per_trial, options.ray_address)
    folder = benchmark(
        options.targets,
        options.inits,
        options.trials,
        options.out,
        fractions=options.label_fraction,
        data=options.data,
        overrides=options.overrides,
        engine=engine,
        progress=options.progress,
    )
    print(f"{folder}: now `python -m training report {folder}`")


def _merge(options: argparse.Namespace) -> None:
    from .trials.results import merge

    added, doubled = merge(options.folders, options.out)
    print(f"{options.out}: {added} trials added, {doubled} were there already")


def _report(options: argparse.Namespace) -> None:
    from .report import report

    print(report(options.folder, options.out))


def _finetune(options: argparse.Namespace) -> None:
    from .publishing.finetuned import publish_finetuned

    print(
        publish_finetuned(
            options.init, options.target, options.out, options.overrides, options.seed, progress=options.progress
        )
    )


def _targets(options: argparse.Namespace) -> None:
    from .trials.overview import overview

    print(overview(options.target, options.overrides, options.split))


def add_verbs(verbs: Any) -> None:
    """Add the commands to the subparsers of `python -m training`."""
    named = f"TOML files, or {', '.join(shipped(TASKS))}"
    overrides: dict[str, Any] = {"nargs": "*", "default": [], "metavar": "key=value"}

    bench = verbs.add_parser("benchmark", help="initialisations against each other on target tasks")
    bench.add_argument("overrides", **overrides, help="such as settings.steps=300, lidc-nodules:root=/data/lidc")
    bench.add_argument("--targets", nargs="+", required=True, help=named)
    bench.add_argument(
        "--inits", nargs="+", required=True, help="names or folders of weights, random:, encoder:, imagenet:NAME"
    )
    bench.add_argument("--trials", type=int, default=10, help="of each initialisation (%(default)s)")
    bench.add_argument("--label-fraction", type=float, nargs="+", default=[1.0], help="of the training patients")
    bench.add_argument(
        "--out", default="runs/benchmark", help="folder of the results, which are continued (%(default)s)"
    )
    bench.add_argument("--data", help="folder that stands for data/ in the roots of the shipped targets")
    bench.add_argument("--ray", action="store_true", help="trials side by side on Ray")
    bench.add_argument("--ray-address", help="of a running cluster, or auto; absent: this machine alone")
    bench.add_argument("--cpus-per-trial", type=float, default=1, help="on Ray (%(default)s)")
    bench.add_argument("--gpus-per-trial", type=float, default=0, help="on Ray; shares such as 0.25 (%(default)s)")
    bench.add_argument("--quiet", dest="progress", action="store_false", help="no progress bars")

    merge = verbs.add_parser("merge", help="results of several machines in one table, without doubles")
    merge.add_argument("folders", nargs="+", help="folders that benchmark wrote")
    merge.add_argument("--out", required=True, help="folder that the trials are added to")

    report = verbs.add_parser("report", help="tables and figures of a benchmark")
    report.add_argument("folder", help="folder that benchmark wrote")
    report.add_argument("--out", help="folder of the report (<folder>/report)")

    tune = verbs.add_parser("finetune", help="weights for a task of your own")
    tune.add_argument("overrides", **overrides, help="such as settings.steps=300")
    tune.add_argument("--init", required=True, help="name or folder of weights, random:, encoder:, imagenet:NAME")
    tune.add_argument("--target", required=True, help=f"TOML file, or one of {', '.join(shipped(TASKS))}")
    tune.add_argument("--out", required=True, help="folder of the fine-tuned model")
    tune.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    tune.add_argument("--quiet", dest="progress", action="store_false", help="no progress bars")

    show = verbs.add_parser("targets", help="the target tasks, or what is found of one on disk")
    show.add_argument("target", nargs="?", help="TOML file or name; absent: list them")
    show.add_argument("overrides", **overrides, help="such as root=/data/lidc")
    show.add_argument("--split", help="write a CSV of its patients and their parts, for a recipe's split")


VERBS: dict[str, Callable[[argparse.Namespace], None]] = {
    "benchmark": _benchmark,
    "merge": _merge,
    "report": _report,
    "finetune": _finetune,
    "targets": _targets,
}
