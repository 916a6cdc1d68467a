"""The commands with a recipe: every step of making the weights."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from sg_hub.errors import InvalidInputError
from sg_hub.hub.config_file import CONFIG

from ..methods.registry import method_of, resolve
from ..run.folder.lock import run_lock
from ..run.recipe import Recipe
from ..run.recipe_file import load_recipe
from .first_process import in_first_process, without_torchrun
from .folders import check_upload, send

Options = argparse.Namespace


def prepare(options: Options) -> None:
    from ..data.prepare import prepare

    recipe, chosen = _recipe(options), {"progress": options.progress}
    if getattr(options, "ray", False):
        from ..data.on_ray import engine

        chosen["converter"] = engine(options.ray_address)
    prepare(recipe, **chosen)


def autoencode(options: Options) -> None:
    from ..pretraining.autoencode import autoencode

    print(autoencode(_recipe(options), device=options.device, progress=options.progress))


def discover(options: Options) -> None:
    recipe = _recipe(options)
    if method_of(recipe).needs == "regions":
        from ..discovery.regions.find import find_regions

        print(find_regions(recipe, device=options.device, progress=options.progress))
        return
    _discover_patterns(options)


@in_first_process
def _discover_patterns(options: Options) -> None:
    from ..discovery.discover import discover

    print(discover(_recipe(options), progress=options.progress))


@in_first_process
def transforms(options: Options) -> None:
    from ..pretraining.show_transforms import show_transforms

    recipe = _recipe(options)
    with run_lock(recipe.run_dir):
        print(show_transforms(recipe))


def pretrain(options: Options) -> None:
    from ..pretraining.pretrain import pretrain

    chosen = {name: getattr(options, name) for name in ("device", "progress", "tensorboard")}
    print(pretrain(_recipe(options), **chosen))


@in_first_process
def evaluate(options: Options) -> None:
    from ..pretraining.evaluate import evaluate

    recipe = _recipe(options)
    with run_lock(recipe.run_dir):
        print(evaluate(recipe, device=options.device, progress=options.progress))


@in_first_process
def publish(options: Options) -> None:
    check_upload(options)
    if (Path(options.recipe) / CONFIG).is_file():
        raise InvalidInputError(
            f"{options.recipe} is a model folder, which `publish` makes of a recipe's run: `sg-hub upload "
            f"{shlex.quote(options.recipe)} --to OWNER/NAME` sends it to a hub, with --dry-run says what it would send"
        )
    from ..publishing.publish import publish

    recipe = _recipe(options)
    with run_lock(recipe.run_dir):  # what is published is not changed meanwhile
        folder = publish(recipe, options.cards)
    print(folder)
    if options.to:
        send(folder, options)


def regenerate(options: Options) -> None:
    from ..publishing.publish import check_publishable
    from ..run.folder.metrics import check_tensorboard

    recipe = _recipe(options)
    check_upload(options)  # said now, not after hours of training, like what follows
    if options.to and not recipe.publish.licence:
        raise InvalidInputError("--to: no hub takes a card without the licence of the weights: give publish.licence=ID")
    check_publishable(recipe, options.cards)
    if options.tensorboard:
        check_tensorboard()
    needs = method_of(recipe).needs
    alike = (autoencode,) if needs == "patterns" and recipe.discover.needs_autoencoder else ()
    found = (discover,) if needs in ("patterns", "regions") else ()
    for step in (prepare, *alike, *found, transforms, pretrain, evaluate, publish):
        print(f"== {step.__name__}", flush=True)
        step(options)


@without_torchrun
def compare_methods(options: Options) -> None:
    from ..method_grid.walk import STEPS, compare_methods

    chosen = {name: getattr(options, name) for name in ("cells", "data", "device", "progress")}
    given = (options.grid, options.out, options.overrides)
    print(compare_methods(*given, only=options.only or STEPS, **chosen))


def _recipe(options: Options) -> Recipe:
    return resolve(load_recipe(options.recipe, options.overrides))
