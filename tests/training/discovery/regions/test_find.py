"""The step as a whole, and what is refused of it later."""

import json
import shutil

import pytest
import torch
import zarr

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.hub.model_folder import sha256_of
from tests.training.discovery.regions.conftest import regions_recipe
from training.discovery.regions.find import find_regions
from training.methods.registry import method_of
from training.pretraining.inputs import open_inputs
from training.run.processes.process_group import Process

ALONE = Process(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def found(bodies, tmp_path_factory):
    run = tmp_path_factory.mktemp("found") / "run"
    shutil.copytree(bodies / "run", run)
    find_regions(regions_recipe(bodies, run=run), progress=False)
    return run


def opened(recipe):
    return open_inputs(recipe, method_of(recipe), ALONE)


def test_what_is_written_and_cropped(bodies, found):
    record = json.loads((found / "discover.json").read_text(encoding="utf-8"))
    assert record["found_by"]["sha256"] == sha256_of(bodies / "net" / "model.safetensors")
    assert record["patients"] == {"references": 1, "found_in": [4], "of": 4}
    assert (found / "discovery" / "regions.png").stat().st_size > 5000
    inputs = opened(regions_recipe(bodies, run=found))
    assert inputs.regions.middles.shape == (1, 50, 4)
    cube, places = inputs.data["train"][3]
    assert cube.shape == (1, 24, 24, 12), "with the context that views are cut from"
    assert places.shape == (1, 4, 12, 12, 6)
    alike = places[0, 3] < 1
    assert alike.float().mean() > 0.5
    step = places[0, 0].diff(dim=0)[alike[1:] & alike[:-1]]
    assert step.median() == pytest.approx(8, abs=1), "mm from cell to cell"
    again = opened(regions_recipe(bodies, run=found))
    assert again.fingerprint == inputs.fingerprint


def test_other_settings_scans_and_files_are_refused(bodies, found, tmp_path):
    with pytest.raises(InvalidInputError, match=r"with other settings than the recipe's \(regions.regions=50\)"):
        opened(regions_recipe(bodies, "regions.regions=60", run=found))
    with pytest.raises(ReadError, match="run `sg-hub discover` first"):
        opened(regions_recipe(bodies))
    run = shutil.copytree(found, tmp_path / "run")
    record = json.loads((run / "discover.json").read_text(encoding="utf-8"))
    del record["record_sha256"]
    for change in ({"store": "another"}, {"alignments": None}):
        (run / "discover.json").write_text(
            json.dumps({key: value for key, value in (record | change).items() if value is not None}), encoding="utf-8"
        )
        with pytest.raises(InvalidInputError, match=r"in another store .* or by another method: run `sg-hub discover`"):
            opened(regions_recipe(bodies, run=run))
    shutil.copy(found / "discover.json", run / "discover.json")
    zarr.open_group(str(run / "discovery" / "alignments.zarr"), mode="r+").attrs["sg_hub_alignments"] = "of others"
    with pytest.raises(InvalidInputError, match="is of other references, weights or scans than the record says"):
        opened(regions_recipe(bodies, run=run))
    find_regions(regions_recipe(bodies, run=run), progress=False)
    assert opened(regions_recipe(bodies, run=run)).fingerprint == opened(regions_recipe(bodies, run=found)).fingerprint
    with (run / "discovery" / "references.npz").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ReadError, match="is not what `sg-hub discover` recorded"):
        opened(regions_recipe(bodies, run=run))
