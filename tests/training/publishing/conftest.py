import shutil
from pathlib import Path

import pytest

from tests.training.conftest import small_recipe
from training.pretraining.evaluate import evaluate
from training.pretraining.pretrain import pretrain


@pytest.fixture(scope="package")
def trained(discovered, tmp_path_factory):
    """A run folder up to the evaluation."""
    run = Path(shutil.copytree(discovered, tmp_path_factory.mktemp("trained") / "run"))
    pretrain(small_recipe(run), progress=False)
    evaluate(small_recipe(run), progress=False)
    return run
