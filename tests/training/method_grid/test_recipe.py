from pathlib import Path

import pytest

from sg_hub import InvalidInputError
from training.method_grid.recipe import load_grid, recipes_of
from training.methods.registry import method_class, method_of, methods


def test_the_shipped_grid_gives_every_method_equal_cubes_and_nothing_else_differs():
    grid = load_grid("methods-3d-tiny", ["recipe.source=/data/ct", "recipe.prepare.workers=1"])
    recipes = recipes_of(grid, Path("out"))
    alike = {name for name in methods() if method_class(name).needs != "regions"}  # which start from weights
    assert {recipe.method.name for recipe in recipes.values()} == alike
    for name, recipe in recipes.items():
        stages = method_of(recipe).stages(recipe.pretrain.epochs)
        assert sum(stage.epochs for stage in stages) == 12
        assert recipe.source == "/data/ct"
        assert recipe.run == f"out/runs/{name}"
        free = recipe.pretrain.model_dump(exclude={"epochs"})
        assert free == recipes["in-painting"].pretrain.model_dump(exclude={"epochs"})
    for one, other in grid.pairs:
        assert method_of(recipes[one]).needs == "patterns"
        assert method_of(recipes[other]).needs == "patches"
        if recipes[one].method.name == recipes[other].method.name and one != "semantic-genesis":
            added = recipes[one].method.model_dump().items() - recipes[other].method.model_dump().items()
            assert {key for key, _ in added} == {"semantics", "classification_epochs", "lambda_rec", "lambda_cls"}
    assert {one for one, _ in grid.pairs} >= {f"{name}-semantics" for name in ("in-painting", "dense-contrast")}


def test_cells_share_a_store_and_say_how_many_cubes_they_see():
    grid = load_grid("methods-3d-tiny", ["cells.autoencoder.recipe=models-genesis-3d"])
    with pytest.raises(InvalidInputError, match=r"models-genesis and autoencoder differ in source: set recipe\.source"):
        recipes_of(grid, Path("out"))
    with pytest.raises(InvalidInputError, match=r"set recipe\.pretrain\.samples_per_epoch"):
        recipes_of(load_grid("methods-3d-tiny", ["recipe={}"]), Path("out"))


def test_a_method_that_needs_regions_is_in_no_grid(tmp_path):
    (tmp_path / "grid.toml").write_text(
        'name = "g"\nepochs = 2\n[recipe.pretrain]\nsamples_per_epoch = 8\n'
        '[cells.dense]\nrecipe = "dense-patterns-3d-tiny"\n'
    )
    with pytest.raises(InvalidInputError, match="cell dense: dense_patterns needs regions"):
        recipes_of(load_grid(tmp_path / "grid.toml"), tmp_path)
