"""python -m training VERB RECIPE [key=value ...]: every step of making the weights."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from sg_hub.errors import SgHubError
from training.recipe import Recipe, load_recipe, shipped

Verb = Callable[[Recipe, argparse.Namespace], None]


def _prepare(recipe: Recipe, options: argparse.Namespace) -> None:
    from training.prepare import prepare

    prepare(recipe, progress=options.progress)


def _autoencode(recipe: Recipe, options: argparse.Namespace) -> None:
    from training.autoencode import autoencode

    print(autoencode(recipe, progress=options.progress))


def _discover(recipe: Recipe, options: argparse.Namespace) -> None:
    from training.discover import discover

    print(discover(recipe, progress=options.progress))


def _transforms(recipe: Recipe, options: argparse.Namespace) -> None:
    from training.show_transforms import show_transforms

    print(show_transforms(recipe))


def _pretrain(recipe: Recipe, options: argparse.Namespace) -> None:
    from training.pretrain import pretrain

    print(pretrain(recipe, progress=options.progress, tensorboard=options.tensorboard))


def _evaluate(recipe: Recipe, options: argparse.Namespace) -> None:
    from training.evaluate import evaluate

    print(evaluate(recipe, progress=options.progress))


def _publish(recipe: Recipe, options: argparse.Namespace) -> None:
    from training.publish import publish

    print(publish(recipe, options.cards))


def _benchmark(options: argparse.Namespace) -> None:
    from training.benchmark import benchmark

    engine = None
    if options.ray:
        from training.on_ray import engine as on_ray

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
    from training.results import merge

    added, doubled = merge(options.folders, options.out)
    print(f"{options.out}: {added} trials added, {doubled} were there already")


def _report(options: argparse.Namespace) -> None:
    from training.report import report

    print(report(options.folder, options.out))


def _finetune(options: argparse.Namespace) -> None:
    from training.finetuned import finetune

    print(
        finetune(options.init, options.target, options.out, options.overrides, options.seed, progress=options.progress)
    )


def _targets(options: argparse.Namespace) -> None:
    from training.targets.overview import overview

    print(overview(options.target, options.overrides, options.split))


def _card(options: argparse.Namespace) -> None:
    from training.publish import build_card

    print(build_card(options.folder))


def _alone(verb: Verb) -> Verb:
    """The work of one process: under torchrun the first does it, and the others go on to the next step."""

    def run(recipe: Recipe, options: argparse.Namespace) -> None:
        if int(os.environ.get("RANK", 0)) == 0:
            verb(recipe, options)

    return run


def _regenerate(recipe: Recipe, options: argparse.Namespace) -> None:
    for verb in (_prepare, _autoencode, _discover, _transforms, _pretrain, _evaluate, _publish):
        name = verb.__name__.removeprefix("_")
        print(f"== {name}", flush=True)
        VERBS[name][0](recipe, options)


VERBS: dict[str, tuple[Verb, str]] = {
    "prepare": (_alone(_prepare), "a folder of scans to one store"),
    "autoencode": (_autoencode, "the autoencoder and the features of every patient"),
    "discover": (_alone(_discover), "the table of anatomical patterns, and its figure"),
    "transforms": (_alone(_transforms), "the figure of every transformation on real cubes"),
    "pretrain": (_pretrain, "self-classification and self-restoration"),
    "evaluate": (_alone(_evaluate), "the weights on patients that discovery never saw"),
    "publish": (_alone(_publish), "model_cards/<model>/ and the registry's entry"),
    "regenerate": (_regenerate, "all of the above, in this order"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (_, text) in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text)
        verb.add_argument("recipe", help=f"TOML file, or one of {', '.join(shipped())}")
        verb.add_argument("overrides", nargs="*", metavar="key=value", help="such as pretrain.epochs=3")
        verb.add_argument("--quiet", dest="progress", action="store_false", help="no progress bars")
        if name in ("pretrain", "regenerate"):
            verb.add_argument("--tensorboard", action="store_true", help="write TensorBoard events as well")
        if name in ("publish", "regenerate"):
            verb.add_argument("--cards", default="model_cards", help="folder of the model cards (%(default)s)")
    _add_target_verbs(verbs)
    card = verbs.add_parser("card", help="rebuild the card of a model folder from its records")
    card.add_argument("folder", help="such as model_cards/semantic-genesis-3d-tiny")
    return parser


def _add_target_verbs(verbs: Any) -> None:
    """What is done with target tasks, and has no recipe."""
    named = f"TOML files, or {', '.join(shipped('targets'))}"
    overrides: dict[str, Any] = {"nargs": "*", "default": [], "metavar": "key=value"}

    bench = verbs.add_parser("benchmark", help="initialisations against each other on target tasks")
    bench.add_argument("overrides", **overrides, help="such as settings.steps=300, lidc-nodules:root=/data/lidc")
    bench.add_argument("--targets", nargs="+", required=True, help=named)
    bench.add_argument(
        "--inits", nargs="+", required=True, help="names or folders of weights, random:NAME, encoder:NAME"
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
    tune.add_argument("--init", required=True, help="name or folder of weights, random:NAME, encoder:NAME")
    tune.add_argument("--target", required=True, help=f"TOML file, or one of {', '.join(shipped('targets'))}")
    tune.add_argument("--out", required=True, help="folder of the fine-tuned model")
    tune.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    tune.add_argument("--quiet", dest="progress", action="store_false", help="no progress bars")

    show = verbs.add_parser("targets", help="the target tasks, or what is found of one on disk")
    show.add_argument("target", nargs="?", help="TOML file or name; absent: list them")
    show.add_argument("overrides", **overrides, help="such as root=/data/lidc")
    show.add_argument("--split", help="write a CSV of its patients and their parts, for a recipe's split")


TARGET_VERBS: dict[str, Callable[[argparse.Namespace], None]] = {
    "benchmark": _benchmark,
    "merge": _merge,
    "report": _report,
    "finetune": _finetune,
    "targets": _targets,
}


def main(arguments: list[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):  # a terminal that knows no ± must not end a run
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parser = _parser()
    options: Any
    options, more = parser.parse_known_args(arguments)
    if any(text.startswith("-") or "=" not in text for text in more):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    if more and not hasattr(options, "overrides"):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    if more:  # overrides that stand behind an option
        options.overrides += more
    try:
        if options.verb in TARGET_VERBS:
            TARGET_VERBS[options.verb](options)
        elif options.verb == "card":
            _card(options)
        else:
            VERBS[options.verb][0](load_recipe(options.recipe, options.overrides), options)
    except SgHubError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
