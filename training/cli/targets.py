"""The commands around target tasks. They have no recipe, and are the work of one process; grids go on Ray."""

from __future__ import annotations

import argparse
import shlex

from sg_hub.io.files import check_output

from .first_process import in_first_process


@in_first_process
def benchmark(options: argparse.Namespace) -> None:
    from ..trials.grids.benchmark import benchmark

    engine = None
    if options.ray:
        from ..trials.grids.on_ray import engine as on_ray

        engine = on_ray(options.cpus_per_trial, options.gpus_per_trial, options.ray_address, options.device)
    folder = benchmark(
        options.targets,
        options.inits,
        options.trials,
        options.out,
        fractions=options.label_fraction or ([] if options.patients else [1.0]),
        patients=options.patients,
        protocols=options.protocol,
        data=options.data,
        overrides=options.overrides,
        engine=engine,
        device=options.device,
        progress=options.progress,
    )
    print(f"{folder}: now `sg-hub report {shlex.quote(str(folder))}`")


@in_first_process
def compare(options: argparse.Namespace) -> None:
    from ..compare.compare import compare

    names = ("patients", "trials", "encoders", "quick", "data", "device", "progress")
    chosen = {name: getattr(options, name) for name in names}
    chosen["protocols"] = options.protocol
    print(compare(options.target, options.weights, options.out, options.overrides, **chosen))


@in_first_process
def worth(options: argparse.Namespace) -> None:
    from ..worth.suite import worth

    names = ("parts", "data", "patients", "draws", "calibrate", "device", "progress")
    chosen = {name: getattr(options, name) for name in names}
    print(worth(options.target, options.weights, options.out, options.overrides, **chosen))


@in_first_process
def merge(options: argparse.Namespace) -> None:
    from ..trials.grids.results import merge

    added, doubled = merge(options.folders, options.out)
    print(f"{options.out}: {added} trials added, {doubled} were there already")


@in_first_process
def report(options: argparse.Namespace) -> None:
    from ..report import report

    print(report(options.folder, options.out))


@in_first_process
def finetune(options: argparse.Namespace) -> None:
    from ..publishing.finetuned import publish_finetuned

    print(
        publish_finetuned(
            options.init,
            options.target,
            options.out,
            options.overrides,
            options.seed,
            predictions=options.predictions,
            device=options.device,
            progress=options.progress,
        )
    )


@in_first_process
def init_target(options: argparse.Namespace) -> None:
    from ..trials.init_target import init_target

    path, found = init_target(options.folder, options.out, options.classes)
    print(found)
    print(f"{path}: look it through, then `sg-hub check {shlex.quote(str(path))}`")


@in_first_process
def check(options: argparse.Namespace) -> None:
    from ..trials.check import check

    print(check(options.target, options.overrides, options.init, progress=options.progress))


@in_first_process
def score(options: argparse.Namespace) -> None:
    from ..trials.predictions import read_for, score_predictions, write_scores

    if options.out:
        check_output(options.out, (".csv",), read_for(options.predictions, options.target, options.overrides))
    given = (options.predictions, options.target, options.overrides, options.part)
    table, scored, missing = score_predictions(*given, numbers=options.numbers, progress=options.progress)
    print(table, end="")
    print(f"{scored} items" + (f", {len(missing)} without a prediction, such as {missing[0]}" if missing else ""))
    if options.out:
        write_scores(table, options.out)


@in_first_process
def show(options: argparse.Namespace) -> None:
    from ..trials.overview import overview

    print(overview(options.target, options.overrides, options.split, options.images, progress=options.progress))
