import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tests.support.folders import DEMO_SAMPLES
from tests.training.targets.target_folders import lidc_patches
from training.data.prepare import prepare
from training.discovery.discover import discover
from training.pretraining.autoencode import autoencode
from training.pretraining.evaluate import evaluate
from training.pretraining.pretrain import pretrain
from training.pretraining.show_transforms import show_transforms
from training.run.recipe import Recipe
from training.run.recipe_file import load_recipe

SAMPLES = DEMO_SAMPLES / "openkbp"
SMALL = (
    "model.width=2",
    "prepare.workers=1",
    "autoencode.size=[16, 16, 16]",
    "autoencode.epochs=1",
    "discover.patterns=3",
    "discover.neighbours=4",
    "discover.cube=[16, 16, 8]",
    "discover.in_plane=[12, 20]",
    "discover.resolutions=2",
    "pretrain.size=[16, 16, 8]",
    "pretrain.batch_size=4",
    "method.classification_epochs=1",
    "pretrain.epochs=2",
    "pretrain.checkpoint_every=2",
    "pretrain.picture_every=2",
)


def small_recipe(run: Path, *overrides: str) -> Recipe:
    """The demo's recipe on the sample patients, smaller still."""
    return load_recipe("demo", [f"source={SAMPLES / 'ct'}", f"run={run}", *SMALL, *overrides])


@pytest.fixture(autouse=True)
def _small_figures(monkeypatch):
    """Figures are drawn as a whole, but small and without the search for their best layout, which takes longest."""
    save = Figure.savefig

    def small(self, *arguments, **options):
        save(self, *arguments, **(options | {"dpi": 60, "bbox_inches": None}))

    monkeypatch.setattr(Figure, "savefig", small)
    monkeypatch.setattr(Figure, "tight_layout", lambda self, **_: None)


@pytest.fixture(scope="session")
def discovered(tmp_path_factory) -> Path:
    """A run folder up to discovery, on the twelve sample patients."""
    run = tmp_path_factory.mktemp("run")
    recipe = small_recipe(run)
    prepare(recipe, progress=False)
    autoencode(recipe, progress=False)
    discover(recipe, progress=False)
    return run


@pytest.fixture
def run(discovered, tmp_path) -> Path:
    """A copy of the discovered run, to go on from."""
    return Path(shutil.copytree(discovered, tmp_path / "run"))


@pytest.fixture(scope="session")
def patches(tmp_path_factory):
    """Patches of LIDC-IDRI as they are downloaded."""
    folder = tmp_path_factory.mktemp("lidc")
    lidc_patches(folder)
    return folder


XRAYS = DEMO_SAMPLES / "chestxray14" / "images"
SMALL_IMAGES = (
    "model.encoder=lcnet_035",
    "model.decoder_width=2",
    "prepare.workers=1",
    "prepare.size=[64, 64]",
    "prepare.chunk=[64, 64]",
    "autoencode.size=[32, 32]",
    "autoencode.epochs=1",
    "discover.patterns=3",
    "discover.neighbours=4",
    "discover.cube=[24, 24]",
    "discover.in_plane=[20, 30]",
    "discover.resolutions=2",
    "pretrain.batch_size=4",
    "method.classification_epochs=1",
    "pretrain.epochs=2",
)


def small_images(run: Path, *overrides: str) -> Recipe:
    """The demo's recipe on the sample X-rays, smaller still."""
    return load_recipe("demo-2d", [f"source={XRAYS}", f"run={run}", *SMALL_IMAGES, *overrides])


@pytest.fixture(scope="session")
def trained_images(tmp_path_factory) -> Path:
    """A run folder of the sample X-rays with everything but the publication."""
    run = tmp_path_factory.mktemp("images") / "run"
    recipe = small_images(run)
    for step in (prepare, autoencode, discover, pretrain, evaluate):
        step(recipe, progress=False)
    show_transforms(recipe)
    return run
