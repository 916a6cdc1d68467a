import shutil

import pytest
import torch

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.conftest import small_recipe
from training.data.prepare import prepare
from training.discovery.cubes import PatternDataset, RandomCubes
from training.discovery.whole_scans import WholeScans
from training.methods.registry import method_of
from training.pretraining.inputs import Reader, open_inputs
from training.run.processes.process_group import Process

ALONE = Process(0, 1, torch.device("cpu"))
KINDS = {
    PatternDataset: (),
    RandomCubes: ('method={ name = "restoration" }', "pretrain.samples_per_epoch=8"),
    WholeScans: ('method={ name = "autoencoder", whole = true }',),
}


def opened(run, *overrides):
    recipe = small_recipe(run, *overrides)
    return recipe, open_inputs(recipe, method_of(recipe), ALONE)


@pytest.mark.parametrize("kind", KINDS)
def test_each_method_gets_what_it_needs(run, kind):
    recipe, inputs = opened(run, *KINDS[kind])
    assert all(isinstance(data, kind) for data in inputs.data.values())
    assert (inputs.patterns is not None) == (kind is PatternDataset)
    (batch,) = Reader(inputs.data["train"], recipe.pretrain, ALONE).read([[3, 1]])
    assert batch.cubes.shape == (2, 1, *recipe.pretrain.size)
    assert (batch.labels is not None) == (kind is PatternDataset)
    assert torch.equal(batch.cubes[1], inputs.data["train"][1][0])
    assert len(inputs.data["test"]) == 0


def test_random_patches_need_no_discovery(run):
    shutil.rmtree(run / "discovery")
    opened(run, *KINDS[RandomCubes])
    with pytest.raises(ReadError, match="sg-hub discover"):
        opened(run)


def test_what_the_items_depend_on_is_told(run):
    told = [
        opened(run, *overrides)[1].fingerprint
        for overrides in ((), KINDS[RandomCubes], (*KINDS[RandomCubes], "discover.tissue=0.4"), KINDS[WholeScans])
    ]
    assert len(set(told)) == 4
    assert opened(run, *KINDS[RandomCubes], "discover.patterns=2")[1].fingerprint == told[1], "there are no patterns"


def test_patterns_of_another_store_are_refused(run):
    """Their coordinates are voxels of the store that they were discovered in; in a finer one they are other places."""
    shutil.rmtree(run / "store.zarr")
    finer = "prepare.spacing=[3.0, 3.0, 3.0]"
    prepare(small_recipe(run, finer), progress=False)
    with pytest.raises(InvalidInputError, match=r"patterns were discovered in another store .*on again"):
        opened(run, finer)
    opened(run, finer, *KINDS[RandomCubes])


def test_patterns_of_other_settings_are_refused(run):
    with pytest.raises(InvalidInputError, match=r"\(discover\.patterns=3\): run `sg-hub discover` again"):
        opened(run, "discover.patterns=4")
    opened(run, "seed=7", "pretrain.lr=0.5", "prepare.workers=7")


def test_patterns_that_weights_found_are_not_taken_without_whom_these_have_seen(run):
    """A discovery that was killed between its table and its record."""
    (run / "discover.json").unlink()
    with pytest.raises(ReadError, match=r"discover\.json is not there yet: run `sg-hub discover` first"):
        opened(run, 'discover.frame="features"', 'discover.weights="semantic-genesis-3d-tiny"')
    opened(run)
