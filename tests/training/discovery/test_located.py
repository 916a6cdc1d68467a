"""Patterns whose places the features of trained weights find."""

import numpy as np
import pytest
import torch

from sg_hub import Preprocessing, SemanticGenesis3D, from_pretrained
from sg_hub.errors import InvalidInputError
from tests.training.discovery.conftest import CUBE, names, recipe_of
from training.data.leakage import patient_hashes
from training.data.provenance import provenance
from training.discovery import discover as module
from training.discovery.discover import discover
from training.discovery.located import finder, locate_patterns, said_of_weights
from training.discovery.patterns import PatternTable
from training.methods.blueprint import Blueprint
from training.run.folder.record import record


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    expected = {"low": -1000.0, "high": 1000.0, "input_size": (16, 16, 8)}
    for name, spacing in (("net", (4.0, 4.0, 3.0)), ("other", (2.0, 2.0, 2.0))):
        model = SemanticGenesis3D(width=2, preprocessing=Preprocessing(spacing=spacing, **expected))
        model.save_pretrained(folder / name)
    return folder


def test_a_place_is_where_it_is_in_its_own_scan_and_within_all_others(store, weights):
    middle = np.array([20.0, 18.0, 12.0])
    ((places, unlike),) = locate_patterns(finder(str(weights / "net"), store), store, [(3, middle)], progress=False)
    assert places.shape == (15, 3)
    np.testing.assert_array_equal(places[3], middle)
    assert np.flatnonzero(unlike == 0).tolist() == [3]
    assert ((unlike >= 0) & (unlike <= 1)).all()
    for place, patient in zip(places, store.patients, strict=True):
        assert ((place >= -0.5) & (place <= np.array(patient.shape))).all()


def test_patterns_lie_where_they_were_found_in_those_who_are_most_alike(root, store, weights, monkeypatch, tmp_path):
    given = ("discover.frame=features", f"discover.weights={weights / 'net'}", "discover.border=[0.2, 0.2, 0.2]")
    run = tmp_path / "no-autoencoder"
    run.mkdir()
    for name in ("store.zarr", "prepare.json"):
        (run / name).symlink_to(root / "run" / name)
    found, asked = [], []

    def locate(network, of, references, **_):
        asked.extend(references)
        found.extend(locate_patterns(network, of, references, progress=False))
        return found

    monkeypatch.setattr(module, "locate_patterns", locate)
    path = discover(recipe_of(root, *given, f"run={run}"), progress=False)
    assert path.with_name("patterns.png").is_file()
    table = PatternTable.load(path)
    assert len(asked) == 4
    order = store.names()
    for label, ((reference, middle), (places, unlike)) in enumerate(zip(asked, found, strict=True)):
        rows = np.flatnonzero((table.pattern == label) & (table.resolution == 0) & (table.split == 0))
        patients = [order.index(name) for name in names(table, table.patient[rows])]
        assert patients[0] == reference, "itself first"
        np.testing.assert_array_equal(table.corner[rows[0]] + (CUBE - 1) / 2, middle)
        for row, patient in zip(rows[1:], patients[1:], strict=True):
            assert np.abs(table.corner[row] + (CUBE - 1) / 2 - places[patient]).max() <= 0.5
        assert (np.diff(unlike[patients[1:]]) >= 0).all()


@pytest.fixture
def seen(store, weights, tmp_path):
    """Weights that have seen patients, who are asked for."""

    def save(patients, **more):
        model = from_pretrained(weights / "net")
        model.provenance |= {"patients": patient_hashes("mine", patients), "datasets": ["mine"]} | more
        model.save_pretrained(tmp_path / "seen")
        return str(tmp_path / "seen")

    return save


def test_weights_that_have_seen_test_patients_are_refused(store, seen):
    tested = [patient for patient in store.patients if patient.split == "test"]
    with pytest.raises(InvalidInputError, match="1 test patients were in the pre-training set of these weights"):
        finder(seen([tested[0].patient]), store, "mine")
    with pytest.raises(InvalidInputError, match="1 test images"):  # whatever the data set is called
        finder(seen([], images=list(tested[0].images)), store, "ours")


def test_what_learns_from_patterns_has_seen_whom_the_weights_saw_that_found_them(root, store, seen, tmp_path):
    recipe, another = recipe_of(root, f"run={tmp_path}"), patient_hashes("mine", ["another"])
    plain = provenance(recipe, store)
    found_by = said_of_weights(finder(seen(["another"], images=[]), store, "mine"))
    assert len(found_by["sha256"]) == 64
    both = provenance(recipe, store, [found_by])
    assert set(both["patients"]) == {*plain["patients"], *another}
    assert "mine" in both["datasets"]
    record(recipe, "discover", found_by=found_by)  # as `discover` leaves it
    for patterns, expected in ((4, both), (None, plain)):  # only a method that needs patterns has learnt from them
        assert Blueprint(recipe, store, patterns).model("restoration").provenance["patients"] == expected["patients"]
    assert not {"patients", "images"} & provenance(recipe, store, [{"sha256": "of weights that say nothing"}]).keys()


def test_weights_of_another_grid_are_refused(root, store, weights):
    with pytest.raises(InvalidInputError, match=r"they expect a spacing of \[2.0, 2.0, 2.0\] mm, and p00 is stored"):
        finder(str(weights / "other"), store)
    for given in (["discover.frame=features"], ["discover.weights=net"]):
        with pytest.raises(InvalidInputError, match="give both, or neither"):
            recipe_of(root, *given)
