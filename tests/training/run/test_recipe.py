"""Recipes and targets: what ships, what an override may say, and what is refused."""

import json
from pathlib import Path

import pytest

from sg_hub.errors import InvalidInputError, ReadError
from tests.support.folders import ROOT as REPOSITORY
from tests.training.conftest import small_images
from training.data.split_table import read_split
from training.methods.registry import method_of, resolve
from training.run.recipe import MOVED, Recipe, resolved
from training.run.recipe_file import RECIPES, load_recipe
from training.run.settings import shipped, shipped_files
from training.targets import TASKS, load_target

ROOT = REPOSITORY / "training"


def test_everything_that_ships_is_listed():
    assert shipped(RECIPES) == sorted(path.stem for path in (ROOT / "recipes").rglob("*.toml"))
    assert shipped(TASKS) == sorted(path.stem for path in (ROOT / "targets" / "tasks").rglob("*.toml"))
    assert {"demo", "semantic-genesis-3d", "semantic-genesis-3d-tiny"} <= set(shipped(RECIPES))


@pytest.mark.parametrize("name", shipped(RECIPES))
def test_every_recipe_is_valid(name):
    recipe = resolve(load_recipe(name))
    assert recipe == resolve(load_recipe(shipped_files(RECIPES)[f"{name}.toml"]))
    assert resolved(recipe)["discover"]["patterns"] == recipe.discover.patterns
    assert json.loads(json.dumps(resolved(recipe))) == resolved(recipe)
    assert recipe.discover.in_plane[0] <= recipe.discover.cube[0] <= recipe.discover.in_plane[1]


def test_the_paper():
    recipe = load_recipe("semantic-genesis-3d")
    discover, method, pretrain = recipe.discover, resolve(recipe).method, recipe.pretrain
    assert (discover.patterns, discover.neighbours, discover.resolutions) == (44, 200, 3)
    assert discover.cube == pretrain.size == (64, 64, 32)
    assert (discover.in_plane, discover.jitter, discover.min_distance) == ((50, 80), (10, 10, 10), 5)
    assert (discover.frame, discover.tissue_hu) == ("voxel", -150)
    assert [round(share * side) for share, side in zip(discover.border, (512, 512, 300), strict=True)] == [100, 100, 30]
    assert (method.name, method.semantics) == ("restoration", True)
    assert (method.lambda_rec, method.lambda_cls) == (1, 0.01)
    assert (pretrain.lr, pretrain.halve_every) == (1e-3, 40)
    assert (method.classification_epochs, pretrain.patience) == (20, 50)
    assert (method.transforms, method.elastic, method.shuffle_windows) == ("one", (991, 8), 5)
    assert recipe.autoencode.size == (128, 128, 64)
    assert (recipe.model.width, recipe.model.norm) == (32, "batch_stats")
    assert (recipe.prepare.window, recipe.prepare.spacing) == ((-1000, 1000), None)


def test_overrides():
    recipe = load_recipe(
        "demo",
        [
            "seed=7",
            "source=/data/a folder",
            'run="42"',
            "discover.in_plane=[20, 30]",
            "pretrain.lr=5e-4",
            "model.norm=batch_stats",
            "split_names={ a = 'train', b = 'test' }",
            "pretrain.epochs=3",
            "pretrain.epochs=4",
        ],
    )
    assert (recipe.seed, recipe.source, recipe.run) == (7, "/data/a folder", "42")
    assert (recipe.discover.in_plane, recipe.pretrain.lr) == ((20, 30), 5e-4)
    assert recipe.model.norm == "batch_stats"
    assert recipe.split_names == {"a": "train", "b": "test"}
    assert recipe.pretrain.epochs == 4, "the last one counts"
    assert recipe.discover.cube == load_recipe("demo").discover.cube, "what is not overridden stays"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "pretrain.epoch=3",
            r"pretrain\.epoch: there is no such key; did you mean epochs\? \(most epochs .*such as epochs = 400",
        ),
        ("colour=3", "colour: there is no such key; the file takes name, seed, source, "),
        ("prepair.window=3", r"prepair: there is no such key; did you mean prepare\? \(a section, \[prepare\]\)"),
        ("pretrian.epochs=3", r"pretrian: there is no such key; did you mean pretrain\?"),
        (
            "epochs=3",
            r"did you mean autoencode.epochs or pretrain.epochs, in the section \[autoencode\] or \[pretrain\]",
        ),
        ("pretrain.epochs", r"override 'pretrain.epochs': write section\.key=value"),
        ("=3", "override '=3': write"),
        ("seed.of=3", "'seed' is not a section"),
        ("pretrain=3", r"pretrain = 3: expected a section, written \[pretrain\] with its keys below"),
        ("pretrain.epochs=many", r'pretrain\.epochs = "many": expected a whole number from 0 \(most epochs'),
        ("pretrain.epochs=1.5", r"pretrain\.epochs = 1\.5: expected a whole number from 0 \("),
        ("pretrain.epochs=true", r"pretrain\.epochs = true: expected a whole number from 0 \("),
        ("pretrain.lr=true", r"pretrain\.lr = true: expected a number above 0 \("),
        ("prepare.spacing=[1, true, 2]", r"prepare\.spacing = \[1, true, 2\]: expected a list of 3 numbers above 0"),
        ("run=", "run: the path is empty"),
        ("source=''", "source: the path is empty"),
        ("model.norm=layer", r'model\.norm = "layer": expected "batch_stats", "batch" or "instance"'),
        ("prepare.spacing=[1, 2]", r"prepare\.spacing has too few values, expected a list of 3 numbers above 0 \("),
        ("discover.border=[0.6, 0.1, 0.1]", r"border\[0\] = 0\.6: expected a list of numbers from 0 below 0\.5"),
        ("prepare.window=[3, 2]", r"prepare\.window: \[3\.0, 2\.0\]: expected the lower end first"),
        ("discover.cube=[16, 16]", r"discover\.cube"),
        ("split_names={ a = 'training' }", r"split_names\.a"),
        ("pretrain.size=[32, 32, 12]", r"pretrain\.size = \[32, 32, 12\]: every side must be a multiple of 8"),
        ("autoencode.size=[20, 24, 24]", r"autoencode\.size = \[20, 24, 24\]: every side must be a multiple of 8"),
        ("pretrain.size=[0, 32, 16]", "multiple of 8"),
        ("pretrain.size=[-8, 32, 16]", "multiple of 8"),
    ],
)
def test_what_means_nothing_is_refused(override, said):
    with pytest.raises(InvalidInputError, match=said):
        load_recipe("demo", [override])


@pytest.mark.parametrize(
    "override",
    [
        "discover.patterns=0",
        "discover.neighbours=0",
        "discover.resolutions=0",
        "discover.cube=[0, 32, 16]",
        "discover.in_plane=[40, 25]",
        "discover.in_plane=[0, 25]",
        "discover.jitter=[-1, 0, 0]",
        "discover.border=[0.5, 0.1, 0.1]",
        "discover.border=[-0.1, 0.1, 0.1]",
        "discover.min_distance=-1",
        "discover.tissue=1.5",
        "validation_share=1.0",
        "validation_share=-0.1",
        "model.width=0",
        "autoencode.batch_size=0",
        "pretrain.batch_size=0",
        "pretrain.workers=-1",
        "pretrain.epochs=-1",
        "pretrain.halve_every=0",
        "pretrain.lr=0",
        "pretrain.lr=nan",
        "pretrain.picture_every=0",
        "pretrain.checkpoint_every=0",
        "prepare.window=[100.0, 100.0]",
        "prepare.window=[-40000.0, 100.0]",
        "prepare.window=[0.0, 40000.0]",
        "prepare.window=[nan, 40.0]",
        "prepare.spacing=[0.0, 1.0, 1.0]",
        "prepare.spacing=[inf, 1.0, 1.0]",
        "prepare.chunk=[0, 1, 1]",
        f"seed={10**140}",
        f"pretrain.epochs={2**63}",
    ],
)
def test_numbers_outside_their_range_are_refused(override):
    with pytest.raises(InvalidInputError, match=override.split("=")[0]):
        load_recipe("demo", [override])


@pytest.mark.parametrize("key", MOVED)
def test_keys_that_moved_are_still_understood(key):
    """In a recipe, in an override and in what was recorded before they were of the method."""
    new = json.dumps({"classification_epochs": 7, "elastic": [5.0, 2.0], "shuffle_windows": 9}.get(key, 0.5))
    moved, older = load_recipe("demo", [f"method.{key}={new}"]), load_recipe("demo", [f"pretrain.{key}={new}"])
    assert older == moved
    assert resolve(older).method.model_extra[key] != resolve(load_recipe("demo")).method.model_extra[key]
    record = resolved(resolve(moved))
    method = record.pop("method")
    record["pretrain"] |= {name: method[name] for name in MOVED}
    assert method_of(record).described() == method_of(moved).described()


def test_a_recipe_that_names_no_method_is_semantic_genesis():
    values = resolved(load_recipe("demo"))
    del values["method"]
    method = Recipe.model_validate(values).method
    assert (method.name, method.semantics) == ("restoration", True)
    named = Recipe.model_validate(values | {"method": {"name": "restoration"}}).method
    assert not named.semantics, "who names a method says whether it has semantics"


def test_an_unknown_recipe_and_an_unknown_target():
    with pytest.raises(InvalidInputError, match=r"no recipe 'nothing', .* are .*demo, .*semantic-genesis-2d"):
        load_recipe("nothing")
    with pytest.raises(InvalidInputError, match=r"no target 'nothing', .* openkbp-organs"):
        load_target("nothing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"name = ", "own.toml: Invalid value"),
        (b"name = 'a'\n", r"source is missing, expected a text .*; run is missing"),
        (b"\xff\xfe", "own.toml"),
        (b"", "own.toml: name is missing"),
        (b"seed = " + b"9" * 5000, "own.toml: .*digits"),
        (b"a = " + b"[" * 5000, "own.toml: "),
        (b"seed = 1" + b"0" * 140, "own.toml: seed: a whole number of 466 bits"),
        (b"pretrain = 3\n", r"own.toml: .*pretrain = 3: expected a section"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, text, said):
    path = tmp_path / "own.toml"
    path.write_bytes(text)
    with pytest.raises(InvalidInputError, match=said):
        load_recipe(path)


def test_an_override_of_what_is_no_section_names_the_file(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("pretrain = 3\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"own\.toml: override 'pretrain\.lr=1': 'pretrain' is not a section"):
        load_recipe(path, ["pretrain.lr=1"])


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "own.toml"
    path.write_text("", encoding="utf-8")

    def denied(*arguments, **more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(ReadError, match=r"own\.toml cannot be read \(Permission denied\)"):
        load_recipe(path)


def test_a_recipe_does_not_change():
    recipe = load_recipe("demo")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3


@pytest.mark.parametrize("name", ["demo", "demo-2d"])
def test_the_demo_finds_its_samples_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert any(Path(load_recipe(name).source).iterdir())
    assert load_recipe(name, ["source=elsewhere"]).source == "elsewhere"


def test_a_source_is_looked_for_beside_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "ct").mkdir(parents=True)
    recipe = (
        (ROOT / "recipes" / "demo" / "demo.toml")
        .read_text(encoding="utf-8")
        .replace("../../demo/samples/openkbp/ct", "ct")
    )
    (tmp_path / "mine" / "recipe.toml").write_text(recipe, encoding="utf-8")
    assert load_recipe("mine/recipe.toml").source == str(Path("mine/ct"))
    (tmp_path / "mine" / "ct").rmdir()
    assert load_recipe("mine/recipe.toml").source == "ct", "in the current folder"


OWN = 'base = "demo"\nname = "own"\nrun = "runs/own"\n'


def test_a_recipe_says_what_differs_from_its_base(tmp_path):
    path = tmp_path / "own.toml"
    text = "split_names = { a = 'test' }\n[pretrain]\nepochs = 2\n[method]\nname = 'autoencoder'\n"
    path.write_text(OWN + text, encoding="utf-8")
    own, demo = load_recipe(path, ["pretrain.batch_size=3"]), load_recipe("demo")
    assert (own.name, own.run, own.pretrain.epochs, own.pretrain.batch_size) == ("own", "runs/own", 2, 3)
    assert own.pretrain.size == demo.pretrain.size, "the rest of a section is the base's"
    assert (own.source, own.discover, own.publish) == (demo.source, demo.discover, demo.publish)
    assert own.split_names == {"a": "test"}
    assert resolve(own).method.model_dump() == {"name": "autoencoder", "semantics": False, "whole": False}
    assert "base" not in resolved(own)


def test_the_split_of_a_base_is_not_taken_for_that_of_another_source(tmp_path):
    """Patients of the same number would be trained on or kept out by what the CSV says of other people."""
    path, text = tmp_path / "own.toml", OWN.replace("demo", "semantic-genesis-3d-tiny")
    path.write_text(text, encoding="utf-8")
    assert load_recipe(path).split == "data/openkbp/patients.csv"
    path.write_text(text + 'source = "scans"\n', encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"base='semantic-genesis-3d-tiny': split = 'data/openkbp/pat"):
        load_recipe(path)
    assert load_recipe(path, ["split=mine.csv"]).split == "mine.csv"
    path.write_text(text + 'source = "scans"\nsplit = ""\n', encoding="utf-8")
    assert read_split(load_recipe(path)) is None


def test_the_spacing_of_a_base_can_be_taken_back(tmp_path):
    """TOML has no word for none."""
    path = tmp_path / "own.toml"
    path.write_text(OWN.replace("demo", "semantic-genesis-3d-tiny") + '[prepare]\nspacing = "own"\n', encoding="utf-8")
    assert load_recipe("semantic-genesis-3d-tiny").prepare.spacing is not None
    assert load_recipe(path).prepare.spacing is None
    assert load_recipe("semantic-genesis-3d-tiny", ["prepare.spacing=own"]).prepare.spacing is None
    with pytest.raises(InvalidInputError, match=r"prepare\.spacing = .*expected a list of 3 numbers"):
        load_recipe(path, ["prepare.spacing=none"])


def test_a_base_has_a_base_and_lies_beside_the_file(tmp_path, monkeypatch):
    (tmp_path / "mine" / "ct").mkdir(parents=True)
    (tmp_path / "mine" / "first.toml").write_text(OWN + "source = 'ct'\n[method]\nshuffle_windows = 3\n")
    second = OWN.replace("demo", "first.toml") + "[method]\nelastic = [2.0, 1.0]\n"
    (tmp_path / "mine" / "second.toml").write_text(second)
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("mine/second.toml")
    assert recipe.source == str(Path("mine/ct")), "beside the file that says it"
    method = resolve(recipe).method.model_dump()
    assert (method["name"], method["shuffle_windows"], method["elastic"]) == ("restoration", 3, (2.0, 1.0))
    assert method["classification_epochs"] == resolve(load_recipe("demo")).method.model_extra["classification_epochs"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OWN.replace("demo", "nothing"), "own.toml: base='nothing': no recipe 'nothing', no TOML file"),
        (OWN.replace("demo", "own.toml"), "own.toml: base='own.toml': expected the file or name of another"),
        (OWN.replace("demo", "other.toml"), "own.toml: base='other.toml': .*other.toml: base='own.toml': expected"),
        (OWN.replace('"demo"', "3"), "own.toml: base=3: expected"),
        (OWN.replace('run = "runs/own"', ""), "own.toml: run is missing"),
        (OWN + "[pretrain]\nepoch = 2\n", r"own.toml: pretrain\.epoch: there is no such key"),
        (OWN + "pretrain = 3\n", r"own.toml: .*pretrain = 3: expected a section"),
    ],
)
def test_a_base_that_means_nothing(tmp_path, text, said):
    (tmp_path / "own.toml").write_text(text)
    (tmp_path / "other.toml").write_text(OWN.replace("demo", "own.toml"))
    with pytest.raises(InvalidInputError, match=said):
        load_recipe(tmp_path / "own.toml")


@pytest.mark.parametrize("pattern", ["[0-9]+", "([0-9"])
def test_patient_patterns_that_mean_nothing(tmp_path, pattern):
    with pytest.raises(InvalidInputError, match="patient"):
        small_images(tmp_path / "run", f"patient={pattern}")


@pytest.mark.parametrize(
    "override",
    ["discover.cube=[24, 24, 24]", "pretrain.size=[32, 40]", "autoencode.size=[16, 16]", "discover.border=[0.1]"],
)
def test_sizes_that_do_not_fit_the_network(tmp_path, override):
    with pytest.raises(InvalidInputError, match=override.partition("=")[0]):
        small_images(tmp_path / "run", override)


def test_home_is_resolved(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe = load_recipe("demo", ["run=~/run", "source=~/ct"])
    assert (recipe.run_dir, recipe.source) == (tmp_path / "run", str(tmp_path / "ct"))
    assert load_recipe("demo", ["source=s3://bucket/~ct"]).source == "s3://bucket/~ct"


def test_an_address_with_a_password_is_refused_for_it_would_be_recorded():
    with pytest.raises(InvalidInputError, match="the address holds a name or a password") as error:
        load_recipe("demo", ["source=s3://somebody:secret@bucket/store.zarr"])
    assert "AWS_SECRET_ACCESS_KEY" in str(error.value)
    assert "secret@" not in str(error.value)
    assert load_recipe("demo", ["source=s3://bucket/a@b.zarr"]).source == "s3://bucket/a@b.zarr"
