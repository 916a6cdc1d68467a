"""What weights say of their data: the recipe's texts are about the recipe's data."""

import shutil
from pathlib import Path

import pytest

from tests.support.folders import DEMO_SAMPLES
from tests.training.scan_files import recipe_of, write_scan, write_source
from training.data.prepare import prepare, store_path
from training.data.provenance import digest, provenance, said_of
from training.data.store import Store
from training.data.store_files import CHECKSUMS
from training.run.recipe import TEXTS, Publish, Recipe
from training.run.recipe_file import load_recipe


def prepared(recipe: Recipe) -> Store:
    prepare(recipe, progress=False)
    return Store.open(store_path(recipe))


@pytest.fixture
def own(tmp_path) -> Recipe:
    """The demo's recipe on six scans of one's own."""
    recipe = recipe_of(write_source(tmp_path / "ct"), tmp_path / "run")
    said = recipe.publish.model_copy(update={"saw": "Slices of 5 mm."})  # the demo's recipe has all others
    return recipe.model_copy(update={"publish": said})


def test_of_the_recipes_own_data_its_texts_are_said(tmp_path):
    some = tmp_path / "ct"
    some.mkdir()
    for path in sorted((DEMO_SAMPLES / "openkbp" / "ct").glob("*.nii.gz"))[:3]:
        shutil.copy(path, some)
    recipe = recipe_of(some, tmp_path / "run")
    store = prepared(recipe)
    assert said_of(recipe, store) == recipe.publish
    made_of = provenance(recipe, store)
    assert (made_of["datasets"], made_of["licence"]) == (["openkbp"], "apache-2.0")
    assert made_of["data"] == recipe.publish.data_name
    assert len(made_of["patients"]) == 3
    assert len(made_of["images"]) == 6  # as they lie, and whichever way they lie


def test_of_other_data_they_are_not(own, capsys):
    store = prepared(own)
    out = capsys.readouterr().out
    assert "texts about its data are left out" in out
    assert all(f"publish.{text}=..." in out for text in TEXTS)
    assert all(getattr(own.publish, text) for text in TEXTS)
    said = said_of(own, store)
    assert {getattr(said, text) for text in TEXTS} == {""}
    assert said.modality == own.publish.modality
    made_of = provenance(own, store)
    assert (made_of["data"], made_of["licence"], made_of["datasets"]) == ("", "unknown", [])
    assert len(made_of["images"]) == 6


def test_what_is_given_with_the_command_is_said(own):
    store = prepared(own)
    given = load_recipe("demo", ["publish.dataset=clinic", "publish.data_name=Our CT", f"run={own.run}"])
    said = said_of(given, store)
    assert (said.dataset, said.data_name, said.licence, said.data_citation) == ("clinic", "Our CT", "", "")
    assert provenance(given, store)["datasets"] == ["clinic"]


def test_what_a_recipe_says_beside_its_base_is_said(own, tmp_path, capsys):
    mine, next_one, theirs = tmp_path / "mine.toml", tmp_path / "next.toml", tmp_path / "theirs.toml"
    mine.write_text('base = "demo"\nname = "mine"\nrun = "x"\n[publish]\ndataset = "clinic"\nlicence = "unknown"\n')
    next_one.write_text('base = "mine.toml"\nname = "next"\nrun = "x"\n[publish]\ndata_name = "Our CT"\n')
    theirs.write_text('base = "mine.toml"\nname = "t"\nrun = "x"\n[publish]\npatients = "0"\ndata_name = "Theirs"\n')
    where = [f"source={own.source}", f"run={own.run}", "prepare.workers=0"]
    store = prepared(load_recipe(mine, where))
    assert "publish.data_name=..." in (out := capsys.readouterr().out)
    assert "publish.dataset" not in out
    assert "publish.licence" not in out
    made_of = provenance(load_recipe(mine, where), store)
    assert (made_of["datasets"], made_of["licence"], made_of["data"]) == (["clinic"], "unknown", "")
    assert len(made_of["patients"]) == 6
    said = said_of(load_recipe(next_one, where), store)
    assert (said.dataset, said.data_name, said.data_citation) == ("clinic", "Our CT", "")
    said = said_of(load_recipe(next_one, [*where, "publish.limits=None."]), store)
    assert (said.dataset, said.data_name, said.limits) == ("clinic", "Our CT", "None.")
    assert said_of(load_recipe(theirs, where), store).data_name == ""


@pytest.mark.parametrize(
    ("declared", "about"),
    [
        ({}, True),
        ({"names": "[a-f]"}, True),
        ({"names": "[a-e]"}, False),
        ({"patients": "0123456789abcdef"}, False),
        ({"images": ()}, False),
    ],
)
def test_a_recipe_says_which_data_its_texts_are_about(own, declared, about):
    store = prepared(own)
    publish = Publish(data_name="six scans", **declared)
    said = said_of(own.model_copy(update={"publish": publish}), store)
    assert said.data_name == ("six scans" if about else "")


def test_patients_are_known_by_their_digest(own):
    store = prepared(own)
    plain = own.model_copy(update={"publish": Publish(dataset="six", data_name="six scans")})
    patients = digest(provenance(plain, store)["patients"])
    declared = plain.model_copy(update={"publish": plain.publish.model_copy(update={"patients": patients})})
    assert said_of(declared, store).data_name == "six scans"


def test_a_store_of_before_does_not_know_its_images(own, tmp_path):
    store = prepared(own)
    folder = Path(store.url)
    lines = (folder / "patients.csv").read_text(encoding="utf-8").splitlines()
    (folder / "patients.csv").write_text("".join(line.rpartition(",")[0] + "\n" for line in lines), encoding="utf-8")
    (folder / CHECKSUMS).unlink()
    older = Store.open(folder)
    assert older.fingerprint == store.fingerprint
    assert "images" not in provenance(own, older)
    write_scan(tmp_path / "ct" / "g.nii.gz", seed=9)
    assert "images" in provenance(own, prepared(own)), "what stands beside the voxels is still known"
