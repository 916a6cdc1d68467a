"""The long commands, on data so small that one takes a second: what is there before each, what it does, what it leaves.

Every command runs in a folder of its own, a copy of what the commands before it left, beside one of inputs that none
changes. Paths are relative, so that what is written is the same wherever it is.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import torch

from sg_hub import Preprocessing, SemanticGenesis3D
from sg_hub.cli import main
from sg_hub.cli.help import say
from sg_hub.errors import SgHubError
from sg_hub.signals import exit_status, terminable
from tests.reliability.processes import Fork, at_change, own_folder
from tests.sg_hub.conversion.published import checkpoint, light
from tests.training.targets.target_folders import write_csv, write_scan
from training.run.recipe import Recipe
from training.run.recipe_file import load_recipe

SCANS = 8
SMALL = (
    "source=../inputs/ct",
    "run=run",
    "model.width=2",
    "prepare.workers=1",
    "prepare.spacing=[2.0, 2.0, 3.0]",
    "prepare.chunk=[16, 16, 8]",
    "autoencode.size=[16, 16, 16]",
    "autoencode.epochs=2",
    "autoencode.batch_size=4",
    "discover.patterns=2",
    "discover.neighbours=4",
    "discover.cube=[16, 16, 8]",
    "discover.in_plane=[12, 20]",
    "discover.jitter=[2, 2, 1]",
    "discover.resolutions=2",
    "discover.min_distance=2",
    "method.classification_epochs=1",
    "method.elastic=[10.0, 2.0]",
    "pretrain.size=[16, 16, 8]",
    "pretrain.batch_size=6",
    "pretrain.epochs=2",
    "pretrain.checkpoint_every=1",
    "pretrain.picture_every=2",
)
"""The demo's recipe, smaller still."""
OWN = """reader = "folder"
name = "own"
root = "."
images = "images"
labels = "labels"
table = "table.csv"
head = "segmentation"
metric = "dice"
classes = ["box"]
values = { box = 1 }
grid = { spacing = [2.0, 2.0, 3.0] }
settings = { patch = [16, 16, 8], steps = 4, batch_size = 2, validate_every = 2, precision = "float32" }
"""


@dataclass(frozen=True)
class Command:
    """One of them.

    Args:
        after: the command whose results it finds.
        growing: what is written bit by bit, as patterns of paths: half of it may be there.
        long: whether it is disturbed, or only leaves what another one finds.
    """

    name: str
    run: Callable[[], int]
    after: str | None = None
    growing: tuple[str, ...] = ()
    long: bool = True


def _cli(*arguments: str) -> Callable[[], int]:
    """A command in a fork. Its figures are files, and are not drawn: that takes half of the time."""

    def run() -> int:
        figure: Any = matplotlib.figure.Figure
        figure.tight_layout = lambda self, **options: None
        figure.savefig = lambda self, path, **options: Path(path).write_bytes(b"a picture")
        return main(list(arguments))

    return run


def _recipe(step: str, *more: str) -> Callable[[], int]:
    return _cli(step, "demo", *SMALL, *more, "--quiet")


def recipe(run: str | Path, *overrides: str) -> Recipe:
    """The recipe of the commands, for another run folder."""
    return load_recipe("demo", [*SMALL, f"run={run}", *overrides])


def network(seed: int = 0) -> SemanticGenesis3D:
    torch.manual_seed(seed)
    return SemanticGenesis3D(
        width=2,
        head="segmentation",
        num_classes=2,
        class_names=("background", "box"),
        norm="batch",
        preprocessing=Preprocessing(spacing=(2.0, 2.0, 3.0), input_size=(16, 16, 8)),
        provenance={"patients": [], "licence": "mit"},
    )


def _save(seed: int) -> int:
    """A model is saved as the commands do it, which say what goes wrong in one line."""
    try:
        with terminable():
            network(seed).save_pretrained("model")
    except SgHubError as error:
        say(str(error))
        return 2
    except KeyboardInterrupt as stopped:
        return exit_status(stopped)
    return 0


def _tuned(*more: str, out: str = "model") -> Callable[[], int]:
    """A model that was tuned otherwise, but for words, is not replaced."""
    arguments = ("--init", "../inputs/small", "--target", "../inputs/own/own.toml", "--out", out)
    return _cli("finetune", *arguments, "--quiet", *more)


def _with_older_results(*arguments: str) -> Callable[[], int]:
    """What was there before a command that reads many inputs."""

    def run() -> int:
        Path("labels").mkdir()
        for name in ("i0", "i3"):
            shutil.copy(f"../inputs/own/labels/{name}.nii.gz", f"labels/{name}.nii.gz")
        Path("older.txt").write_text("older\n", encoding="utf-8")
        return 0

    return run


_IMAGES = tuple(f"../inputs/own/images/i{number}.nii.gz" for number in range(6))
_RUN = ("run/*/checkpoint*.pt", "run/*/metrics.jsonl", "run/*/model/*", "run/*/network.safetensors", "run/*/*.png")
_BENCH = (
    "--targets",
    "../inputs/own/own.toml",
    "--inits",
    "../inputs/small",
    "random:../inputs/small",
    "--trials",
    "2",
)
COMMANDS = {
    command.name: command
    for command in (
        Command("prepare", _recipe("prepare"), growing=("run/store.zarr/*",)),
        Command("autoencode", _recipe("autoencode"), "prepare", (*_RUN, "run/autoencoder/whole.npy")),
        Command("discover", _recipe("discover"), "autoencode"),
        Command("pretrain", _recipe("pretrain"), "discover", _RUN),
        Command("evaluate", _recipe("evaluate"), "pretrain"),
        Command(
            "published before", _recipe("publish", "publish.limits=older", "--cards=cards"), "evaluate", long=False
        ),
        Command("publish", _recipe("publish", "--cards=cards"), "published before"),
        Command("saved before", partial(_save, 1), long=False),
        Command("save_pretrained", partial(_save, 2), "saved before"),
        Command("tuned before", _tuned("description=older"), long=False),
        Command("finetune", _tuned(), "tuned before", ("*/.finetuning/*", "model-items.csv")),
        Command(
            "benchmark",
            _cli("benchmark", *_BENCH, "--out=out", "--quiet"),
            None,
            ("out/results.jsonl", "out/items/*", "out/unfinished/*"),
        ),
        Command("results before", _with_older_results(), long=False),
        Command(
            "embed", _cli("embed", *_IMAGES, "--model=../inputs/small", "--out=out.csv", "--quiet"), None, ("out.csv",)
        ),
        Command(
            "segment", _cli("segment", *_IMAGES, "--model=../inputs/small", "--out=labels", "--quiet"), "results before"
        ),
        Command("convert", _cli("convert", "../inputs/published.pt", "converted"), None),
    )
}


LONG = tuple(name for name, command in COMMANDS.items() if command.long)
DIVERGING = {
    "autoencode": _recipe("autoencode", "autoencode.lr=1e30"),
    "pretrain": _recipe("pretrain", "pretrain.lr=1e30"),
    "finetune": _tuned("settings.lr=1e30", out="diverging"),
}
"""Commands whose losses become infinite."""


@dataclass(frozen=True)
class Undisturbed:
    """A command that nothing came between."""

    folder: Path
    """What it left."""
    seconds: float
    """Of processor time of its process."""
    changes: int
    """Of files, as `at_change` counts them."""


def room(command: Command, name: str) -> Path:
    """A new folder with what a command finds."""
    folder = inputs().parent / name
    if command.after is None:
        folder.mkdir()
    else:
        shutil.copytree(undisturbed(command.after).folder, folder, symlinks=True)
    return folder


def temporary(folder: Path) -> Path:
    """Where the processes of a room have their temporary files."""
    return folder.with_name(folder.name + ".tmp")


@cache
def undisturbed(name: str) -> Undisturbed:
    """What a command leaves.

    Raises:
        RuntimeError: it failed.
    """
    return run_undisturbed(COMMANDS[name], f"after {name}".replace(" ", "-"))


def run_undisturbed(command: Command, name: str) -> Undisturbed:
    folder = room(command, name)
    counted, seconds = temporary(folder).with_name(f"{name}.changes"), 0.0

    def work() -> int:
        count = at_change(lambda number, place: None, folder)
        status = command.run()
        counted.write_text(str(count()), encoding="ascii")
        return status

    fork = Fork(work, folder, temporary(folder))
    while not fork.ended():
        seconds = fork.processor_time or seconds
        time.sleep(0.002)
    if not fork.end() or fork.status != 0:
        raise RuntimeError(f"{command.name} ended with {fork.status}: {fork.said}")
    return Undisturbed(folder, seconds, int(counted.read_text(encoding="ascii")))


@cache
def inputs() -> Path:
    """The folder that nothing is written to."""
    folder = own_folder() / "rooms" / "inputs"
    fork = Fork(partial(_write_inputs, folder), own_folder(), own_folder() / "inputs.tmp")
    fork.wait(600)
    fork.end()
    if fork.status != 0:
        raise RuntimeError(fork.said)
    return folder


def _write_inputs(folder: Path) -> int:
    """Scans to pre-train on, others with label maps, weights of nobody, and a published checkpoint."""
    random = np.random.default_rng(0)
    for number in range(SCANS):
        write_scan(
            folder / "ct" / f"p{number}.nii.gz", random.integers(-900, 900, (32, 28, 20)).astype(np.int16), (2, 2, 3)
        )
    own = folder / "own"
    for number in range(6):
        labels = np.zeros((24, 20, 12), np.uint8)
        labels[4 : 12 + number, 5:14, 3:9] = 1
        scan = np.where(labels > 0, 500, -500) + random.integers(-200, 200, labels.shape)
        write_scan(own / "images" / f"i{number}.nii.gz", scan.astype(np.int16), (2, 2, 3))
        write_scan(own / "labels" / f"i{number}.nii.gz", labels, (2, 2, 3))
    parts = ("train", "train", "train", "validation", "test", "test")
    write_csv(own / "table.csv", ("image", "split"), [(f"i{number}", part) for number, part in enumerate(parts)])
    (own / "own.toml").write_text(OWN, encoding="utf-8")
    network().save_pretrained(folder / "small")
    torch.save(checkpoint(light()), folder / "published.pt")
    return 0
