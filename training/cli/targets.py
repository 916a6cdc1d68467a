"""The commands around target tasks. They have no recipe."""

from __future__ import annotations

import argparse


def benchmark(options: argparse.Namespace) -> None:
    from ..trials.benchmark import benchmark

    engine = None
    if options.ray:
        from ..trials.on_ray import engine as on_ray

        engine = on_ray(options.cpus_per_trial, options.gpus_per_trial, options.ray_address, options.device)
    folder = benchmark(
        options.targets,
        options.inits,
        options.trials,
        options.out,
        fractions=options.label_fraction,
        data=options.data,
        overrides=options.overrides,
        engine=engine,
        device=options.device,
        progress=options.progress,
    )
    print(f"{folder}: now `sg-hub report {folder}`")


def merge(options: argparse.Namespace) -> None:
    from ..trials.results import merge

    added, doubled = merge(options.folders, options.out)
    print(f"{options.out}: {added} trials added, {doubled} were there already")


def report(options: argparse.Namespace) -> None:
    from ..report import report

    print(report(options.folder, options.out))


def finetune(options: argparse.Namespace) -> None:
    from ..publishing.finetuned import publish_finetuned

    print(
        publish_finetuned(
            options.init,
            options.target,
            options.out,
            options.overrides,
            options.seed,
            device=options.device,
            progress=options.progress,
        )
    )


def init_target(options: argparse.Namespace) -> None:
    from ..trials.init_target import init_target

    path, found = init_target(options.folder, options.out, options.classes)
    print(found)
    print(f"{path}: look it through, then `sg-hub check {path}`")


def check(options: argparse.Namespace) -> None:
    from ..trials.check import check

    print(check(options.target, options.overrides, options.init, progress=options.progress))


def show(options: argparse.Namespace) -> None:
    from ..trials.overview import overview

    print(overview(options.target, options.overrides, options.split))
