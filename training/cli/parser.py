"""The commands of training and their options. Nothing here imports more than argparse: `sg-hub --help` is quick."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sg_hub.cli.help import AddCommand

NEEDS = ("fsspec", "matplotlib", "pydantic", "scipy", "sklearn", "zarr")
"""Packages that the extra [training] brings."""
_FOLDER = Path(__file__).parent.parent
_PACKAGE = __name__.removesuffix(".cli.parser")
_OVERRIDES: dict[str, Any] = {"nargs": "*", "default": [], "metavar": "key=value"}

TASK, COMPARE, PRETRAIN, PUBLISH = "A task of your own", "Weights compared", "Pre-training", "Publishing"
"""Headings of the commands."""


def add_commands(add: AddCommand) -> None:
    """Add the commands of training to those of sg-hub."""

    def command(
        name: str, run: str, text: str, *, group: str = "More", examples: Sequence[str] = ()
    ) -> argparse.ArgumentParser:
        parser = add(name, f"{_PACKAGE}.{run}", text, group=group, examples=examples)
        parser.set_defaults(needs=NEEDS, warnings=True, stopped="stopped; run the same command again to go on")
        return parser

    _add_with_targets(command)
    _add_with_recipe(command)
    _add_with_folders(command)
    demo = command(
        "demo",
        "demo.demo:run",
        "show the main job on scans and X-rays that come with it, in about 2 minutes",
        examples=["sg-hub demo --out demo"],
    )
    demo.add_argument("overrides", **_OVERRIDES, help="of both recipes, such as pretrain.epochs=3")
    demo.add_argument("--finetune", metavar="KEY=VALUE", nargs="+", default=[], help="changes of the fine-tuning")
    demo.add_argument("--out", metavar="FOLDER", default="demo", help="folder of all that it writes (%(default)s)")
    demo.add_argument("--no-browser", dest="browser", action="store_false", help="do not open the page at the end")


def _add_with_recipe(command: AddCommand) -> None:
    texts = {
        "prepare": "turn a folder of scans into one store",
        "autoencode": "train the autoencoder, and keep the features of every patient",
        "discover": "find the anatomical patterns, or regions, and draw them",
        "transforms": "draw every transformation on real cubes",
        "pretrain": "train the network by the recipe's method",
        "evaluate": "test the weights on patients that nothing saw",
        "publish": "write model_cards/<model>/ and the registry's entry",
        "regenerate": "do all of the above that the method needs, in this order",
    }
    for name, text in texts.items():
        example = f"sg-hub {name} semantic-genesis-3d-tiny source=/data/openkbp/ct split=/data/openkbp/patients.csv"
        group = PUBLISH if name == "publish" else PRETRAIN
        parser = command(name, f"cli.recipes:{name}", text, group=group, examples=[example])
        parser.add_argument("recipe", metavar="RECIPE", help=f"TOML file, or one of {_shipped('recipes')}")
        parser.add_argument("overrides", **_OVERRIDES, help="changes a setting, such as pretrain.epochs=3")
        _add_quiet(parser)
        if name == "prepare":
            parser.add_argument("--ray", action="store_true", help="each scan as a task of Ray")
            _add_ray_address(parser)
        if name in ("pretrain", "regenerate"):
            parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard events as well")
        if name in ("publish", "regenerate"):
            parser.add_argument("--cards", default="model_cards", help="folder of the model cards (%(default)s)")
            parser.add_argument("--to", metavar="REPO_ID", help="upload the folder to this hub repository")
            parser.add_argument("--private", action="store_true", help="make a new repository private")
            parser.add_argument("--pictures", action="store_true", help="upload pictures too, which show patients")
    grid = command(
        "compare-methods",
        "cli.recipes:compare_methods",
        "pre-train by many methods alike, and measure what the weights are worth",
        group=COMPARE,
        examples=[
            "sg-hub compare-methods methods-3d-tiny recipe.source=/data/openkbp/ct "
            "recipe.split=/data/openkbp/patients.csv --data /data --out runs/methods"
        ],
    )
    grid.add_argument("grid", help=f"TOML file, or one of {_shipped('method_grid/grids')}")
    grid.add_argument("overrides", **_OVERRIDES, help="such as trials.count=10; recipe.KEY=value for every recipe")
    grid.add_argument("--only", nargs="+", default=[], metavar="STEP", help="of pretrain, worth, trials, report (all)")
    grid.add_argument("--cells", nargs="+", default=[], metavar="NAME", help="work on these alone (all)")
    grid.add_argument("--out", default="runs/methods", help="folder of all that it writes (%(default)s)")
    grid.add_argument("--data", help="folder that stands for data/ in the roots of the shipped targets")
    _add_quiet(grid)


def _add_with_targets(command: AddCommand) -> None:
    inits = (
        "name or folder of weights (`sg-hub models` lists them), random:NAME (its network untrained), encoder:NAME "
        "(its encoder alone), or in 2D imagenet:NAME (timm's weights in its encoder)"
    )
    task = "TOML file, or the name of a shipped task (`sg-hub targets` lists them)"
    change = "changes a setting of the TOML,"

    init = command(
        "init-target",
        "cli.targets:init_target",
        "look at a folder of labelled images, and write its TOML",
        group=TASK,
        examples=["sg-hub init-target data/livers --out livers.toml --classes liver tumour"],
    )
    init.add_argument(
        "folder",
        metavar="FOLDER",
        help="images/ and labels/, or a folder for each class, or images and a CSV of classes",
    )
    init.add_argument("--out", metavar="TOML", help="absent: NAME.toml in the current folder, after the folder")
    init.add_argument(
        "--classes",
        metavar="NAME",
        nargs="+",
        default=[],
        help="in the order of the label maps' numbers, or NAME=NUMBER of some of them: the others are background",
    )

    checked = command(
        "check",
        "cli.targets:check",
        "say all that is wrong with a target and its files",
        group=TASK,
        examples=["sg-hub check livers.toml --init semantic-genesis-3d-tiny"],
    )
    checked.add_argument("target", metavar="TARGET", help=task)
    checked.add_argument("overrides", **_OVERRIDES, help=f"{change} such as root=/data/livers")
    checked.add_argument("--init", metavar="WEIGHTS", help=f"what is to be fine-tuned: {inits}")
    _add_quiet(checked)

    tune = command(
        "finetune",
        "cli.targets:finetune",
        "fine-tune weights for a task of your own",
        group=TASK,
        examples=["sg-hub finetune --init semantic-genesis-3d-tiny --target my.toml --out my-model"],
    )
    tune.add_argument("overrides", **_OVERRIDES, help=f"{change} such as settings.steps=300")
    tune.add_argument("--init", metavar="WEIGHTS", required=True, help=f"what to start from: {inits}")
    tune.add_argument("--target", metavar="TARGET", required=True, help=task)
    tune.add_argument(
        "--out", metavar="FOLDER", required=True, help="of the fine-tuned model, its card and its results"
    )
    tune.add_argument("--seed", metavar="N", type=int, default=0, help="of new layers and of batches (%(default)s)")
    tune.add_argument(
        "--predictions", metavar="FOLDER", help="keep what the model makes of the test items, under their names"
    )
    _add_quiet(tune)

    scored = command(
        "score",
        "cli.targets:score",
        "score a folder of predictions: Dice, IoU and surface distance of each class",
        group=TASK,
        examples=["sg-hub score maps/ livers.toml --part all --out scores.csv"],
    )
    scored.add_argument(
        "predictions",
        metavar="PREDICTIONS",
        help="folder of label maps as `segment` writes them, or CSV as `classify` does",
    )
    scored.add_argument("target", metavar="TARGET", help="TOML file of the images and their labels")
    scored.add_argument("overrides", **_OVERRIDES, help=f"{change} such as root=/data/livers")
    scored.add_argument(
        "--part", choices=("train", "validation", "test", "all"), default="test", help="of the items (%(default)s)"
    )
    scored.add_argument(
        "--numbers",
        choices=("model", "target"),
        help="of the label maps: 1, 2, ... in the order of the classes, as `segment` writes them, or those of the "
        "target's own label maps (model)",
    )
    scored.add_argument("--out", metavar="CSV", help="write the table here, too")
    _add_quiet(scored)

    compared = command(
        "compare",
        "cli.targets:compare",
        "say which weights to use for a task of your own",
        group=COMPARE,
        examples=["sg-hub compare --target my.toml --weights semantic-genesis-3d-tiny random --out runs/compare"],
    )
    compared.add_argument("overrides", **_OVERRIDES, help=f"{change} such as settings.steps=300")
    compared.add_argument("--target", metavar="TARGET", required=True, help=task)
    compared.add_argument(
        "--weights",
        metavar="WEIGHTS",
        nargs="+",
        required=True,
        help=f"what to start from, each a {inits}; random alone: a random network of the first one's architecture",
    )
    compared.add_argument("--quick", action="store_true", help="a first look: three trials of a quarter of the steps")
    compared.add_argument("--trials", metavar="N", type=int, help="of each (5; with --quick 3)")
    compared.add_argument(
        "--patients",
        metavar="N",
        nargs="+",
        help="numbers of labelled patients, and all (1 3 10 all, as far as there are; with --quick 3 all)",
    )
    compared.add_argument("--encoders", action="store_true", help="each of the weights also with its encoder alone")
    _add_protocol(compared, None, "both; with --quick same")
    compared.add_argument(
        "--out",
        metavar="FOLDER",
        default="runs/compare",
        help="folder of the results, which are continued (%(default)s)",
    )
    compared.add_argument(
        "--data", metavar="FOLDER", help="folder that stands for data/ in the root of a shipped target"
    )
    _add_quiet(compared)

    bench = command(
        "benchmark",
        "cli.targets:benchmark",
        "hold initialisations against each other on target tasks",
        group=COMPARE,
        examples=[
            "sg-hub benchmark --targets my.toml --inits semantic-genesis-3d-tiny random:semantic-genesis-3d-tiny "
            "--trials 5 --out runs/mine"
        ],
    )
    bench.add_argument(
        "overrides",
        **_OVERRIDES,
        help=f"{change} such as settings.steps=300; of one target lidc-nodules:root=/data/lidc",
    )
    bench.add_argument("--targets", metavar="TARGET", nargs="+", required=True, help=f"each a {task}")
    bench.add_argument(
        "--inits", metavar="WEIGHTS", nargs="+", required=True, help=f"what to start from, each a {inits}"
    )
    bench.add_argument("--trials", metavar="N", type=int, default=10, help="of each initialisation (%(default)s)")
    bench.add_argument(
        "--label-fraction",
        metavar="SHARE",
        type=float,
        nargs="+",
        help="of the training patients; several: a curve of few labels (all, where no --patients are given)",
    )
    bench.add_argument(
        "--patients", metavar="N", type=int, nargs="+", default=[], help="numbers of labelled patients, beside shares"
    )
    _add_protocol(bench, ["same"], "same")
    bench.add_argument(
        "--out",
        metavar="FOLDER",
        default="runs/benchmark",
        help="folder of the results, which are continued (%(default)s)",
    )
    bench.add_argument(
        "--data", metavar="FOLDER", help="folder that stands for data/ in the roots of the shipped targets"
    )
    bench.add_argument("--ray", action="store_true", help="trials side by side on Ray")
    _add_ray_address(bench)
    bench.add_argument("--cpus-per-trial", metavar="N", type=float, default=1, help="on Ray (%(default)s)")
    bench.add_argument(
        "--gpus-per-trial", metavar="N", type=float, default=0, help="on Ray; shares such as 0.25 (%(default)s)"
    )
    _add_quiet(bench)

    worth = command(
        "worth",
        "cli.targets:worth",
        "measure what weights are worth on data of your own",
        group=COMPARE,
        examples=[
            "sg-hub worth --target my.toml --weights semantic-genesis-3d-tiny random:semantic-genesis-3d-tiny "
            "--out runs/worth"
        ],
    )
    worth.add_argument("overrides", **_OVERRIDES, help=f"{change} such as root=/data/organs")
    worth.add_argument("--target", metavar="TARGET", required=True, help=task)
    worth.add_argument("--weights", metavar="WEIGHTS", nargs="+", required=True, help=f"each a {inits}")
    worth.add_argument("--parts", nargs="+", default=["zero", "frozen"], help="zero, frozen (both), few")
    worth.add_argument("--patients", type=int, help="test patients, at most (all; of landmarks 15)")
    worth.add_argument("--draws", type=int, default=1, help="of every random network (%(default)s)")
    worth.add_argument(
        "--calibrate",
        action="store_true",
        help="take norms' statistics from clean patches, not of random networks alone",
    )
    worth.add_argument("--out", default="runs/worth", help="folder of the results, which are continued (%(default)s)")
    worth.add_argument("--data", help="folder that stands for data/ in the root of a shipped target")
    _add_quiet(worth)

    merge = command(
        "merge",
        "cli.targets:merge",
        "put the results of several machines into one table, without doubles",
        group=COMPARE,
        examples=["sg-hub merge runs/a runs/b --out runs/both"],
    )
    merge.add_argument("folders", nargs="+", help="folders that benchmark wrote")
    merge.add_argument("--out", required=True, help="folder that the trials are added to")

    report = command(
        "report",
        "cli.targets:report",
        "make the tables and figures of a benchmark",
        group=COMPARE,
        examples=["sg-hub report runs/mine"],
    )
    report.add_argument("folder", help="folder that benchmark wrote")
    report.add_argument("--out", help="folder of the report (<folder>/report)")

    show = command(
        "targets",
        "cli.targets:show",
        "list the target tasks, or what is found of one on disk",
        group=COMPARE,
        examples=["sg-hub targets", "sg-hub targets lidc-nodules root=/data/lidc"],
    )
    show.add_argument("target", metavar="TARGET", nargs="?", help="TOML file or name; absent: list them")
    show.add_argument("overrides", **_OVERRIDES, help="such as root=/data/lidc")
    show.add_argument("--split", help="write a CSV of its patients and their parts, for a recipe's split")
    show.add_argument(
        "--images", metavar="FOLDER", help="write its images, without labels, and split.csv: to pre-train on them"
    )
    _add_quiet(show)


def _add_with_folders(command: AddCommand) -> None:
    folder = "such as model_cards/semantic-genesis-3d-tiny"
    card = command(
        "card",
        "cli.folders:card",
        "rebuild the card of a model folder from its records",
        group=PUBLISH,
        examples=["sg-hub card my-model"],
    )
    card.add_argument("folder", help=folder)
    card.add_argument(
        "--results", help="folder of a benchmark and its report, or of `worth`: what it found of these weights goes in"
    )
    upload = command(
        "upload",
        "cli.folders:upload",
        "send a model folder to a hub repository",
        group=PUBLISH,
        examples=["sg-hub upload my-model --to owner/my-model --dry-run"],
    )
    upload.add_argument("folder", help=folder)
    upload.add_argument("--to", metavar="REPO_ID", required=True, help="owner/name; made where there is none")
    upload.add_argument("--private", action="store_true", help="make a new repository private")
    upload.add_argument("--pictures", action="store_true", help="upload pictures too, which may show patients")
    upload.add_argument("--dry-run", action="store_true", help="say what would be sent, and send nothing")
    _add_quiet(upload)


def _add_protocol(parser: argparse.ArgumentParser, default: list[str] | None, said: str) -> None:
    parser.add_argument(
        "--protocol",
        nargs="+",
        choices=("same", "own"),
        default=default,
        help="same: all train as the target says; own: each has the settings that do best on validation patients, of "
        f"the same small set ({said})",
    )


def _add_ray_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ray-address", metavar="ADDRESS", help="of a running cluster, or auto; absent: this machine alone"
    )


def _add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", dest="progress", action="store_false", help="no progress bars")


def _shipped(folder: str) -> str:
    return ", ".join(sorted(path.stem for path in (_FOLDER / folder).rglob("*.toml")))
