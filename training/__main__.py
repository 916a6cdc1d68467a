"""python -m training VERB RECIPE [key=value ...]: every step of making the weights."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sg_hub.errors import SgHubError

from . import target_commands
from .run.recipe import RECIPES, Recipe, load_recipe
from .run.settings import shipped
from .run.signals import exit_status, terminable

Verb = Callable[[Recipe, argparse.Namespace], None]


def _prepare(recipe: Recipe, options: argparse.Namespace) -> None:
    from .data.prepare import prepare

    prepare(recipe, progress=options.progress)


def _autoencode(recipe: Recipe, options: argparse.Namespace) -> None:
    from .pretraining.autoencode import autoencode

    print(autoencode(recipe, progress=options.progress))


def _discover(recipe: Recipe, options: argparse.Namespace) -> None:
    from .discovery.discover import discover

    print(discover(recipe, progress=options.progress))


def _transforms(recipe: Recipe, options: argparse.Namespace) -> None:
    from .pretraining.show_transforms import show_transforms

    print(show_transforms(recipe))


def _pretrain(recipe: Recipe, options: argparse.Namespace) -> None:
    from .pretraining.loop import pretrain

    print(pretrain(recipe, progress=options.progress, tensorboard=options.tensorboard))


def _evaluate(recipe: Recipe, options: argparse.Namespace) -> None:
    from .pretraining.evaluate import evaluate

    print(evaluate(recipe, progress=options.progress))


def _publish(recipe: Recipe, options: argparse.Namespace) -> None:
    from .publishing.publish import publish

    folder = publish(recipe, options.cards)
    print(folder)
    if options.to:
        _send(folder, options)


def _card(options: argparse.Namespace) -> None:
    from .publishing.pretrained_card import build_card, take_results

    if options.results:
        take_results(options.folder, options.results)
    print(build_card(options.folder))


def _send(folder: str | Path, options: argparse.Namespace) -> None:
    from .publishing.upload import upload_folder

    print(upload_folder(folder, options.to, private=options.private, progress=options.progress))


def _alone(verb: Verb) -> Verb:
    """The work of one process: under torchrun the first does it, and the others go on to the next step."""

    def run(recipe: Recipe, options: argparse.Namespace) -> None:
        if int(os.environ.get("RANK", 0)) == 0:
            verb(recipe, options)

    return run


def _regenerate(recipe: Recipe, options: argparse.Namespace) -> None:
    from .methods.registry import method_of

    discovery = (_autoencode, _discover) if method_of(recipe).needs == "patterns" else ()
    for verb in (_prepare, *discovery, _transforms, _pretrain, _evaluate, _publish):
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
    "regenerate": (_regenerate, "all of the above that the method needs, in this order"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (_, text) in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text)
        verb.add_argument("recipe", help=f"TOML file, or one of {', '.join(shipped(RECIPES))}")
        verb.add_argument("overrides", nargs="*", metavar="key=value", help="such as pretrain.epochs=3")
        verb.add_argument("--quiet", dest="progress", action="store_false", help="no progress bars")
        if name in ("pretrain", "regenerate"):
            verb.add_argument("--tensorboard", action="store_true", help="write TensorBoard events as well")
        if name in ("publish", "regenerate"):
            verb.add_argument("--cards", default="model_cards", help="folder of the model cards (%(default)s)")
            verb.add_argument("--to", metavar="REPO_ID", help="upload the folder to this hub repository")
            verb.add_argument("--private", action="store_true", help="make a new repository private")
    target_commands.add_verbs(verbs)
    card = verbs.add_parser("card", help="rebuild the card of a model folder from its records")
    card.add_argument("folder", help="such as model_cards/semantic-genesis-3d-tiny")
    card.add_argument("--results", help="folder of a benchmark and its report: what it found of these weights goes in")
    upload = verbs.add_parser("upload", help="a model folder to a hub repository")
    upload.add_argument("folder", help="such as model_cards/semantic-genesis-3d-tiny")
    upload.add_argument("--to", metavar="REPO_ID", required=True, help="owner/name; made where there is none")
    upload.add_argument("--private", action="store_true", help="make a new repository private")
    upload.add_argument("--quiet", dest="progress", action="store_false", help="no progress bars")
    return parser


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
    if getattr(options, "private", False) and not options.to:  # said now, not after hours of training
        parser.error("--private is for the upload: give --to REPO_ID with it")
    if more:  # overrides that stand behind an option
        options.overrides += more
    try:
        with terminable():
            _run(options)
    except SgHubError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return exit_status(stopped)
    return 0


def _run(options: Any) -> None:
    if options.verb in target_commands.VERBS:
        target_commands.VERBS[options.verb](options)
    elif options.verb == "card":
        _card(options)
    elif options.verb == "upload":
        _send(options.folder, options)
    else:
        from .methods.registry import resolve

        VERBS[options.verb][0](resolve(load_recipe(options.recipe, options.overrides)), options)


if __name__ == "__main__":
    sys.exit(main())
