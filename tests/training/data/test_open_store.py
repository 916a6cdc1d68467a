"""The steps behind `prepare` take a store as it was prepared and split, their own or one that is given as source."""

from pathlib import Path

import pytest
import zarr

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.scan_files import write_split
from training.data.prepare import open_store, prepare, store_path
from training.run.recipe_file import load_recipe


def test_the_steps_behind_it_take_no_voxels_of_other_settings(recipe):
    prepare(recipe(), progress=False)
    with pytest.raises(InvalidInputError, match=r"prepared with another window \["):
        open_store(recipe("prepare.window=[-500.0, 500.0]"))
    assert open_store(recipe("prepare.chunk=[8, 8, 8]"), cache_mib=1).names() == open_store(recipe()).names()


@pytest.mark.parametrize(
    "changed", ["split={other}", 'split_names={train = "train", test = "validation"}', "patient=(.)", "split="]
)
def test_the_steps_behind_it_take_no_other_split(recipe, tmp_path, changed):
    rows = dict.fromkeys("abcde", "train") | {"f": "test"}
    path, other = write_split(tmp_path / "split.csv", rows), write_split(tmp_path / "other.csv", rows | {"a": "test"})
    prepare(recipe(f"split={path}"), progress=False)
    with pytest.raises(InvalidInputError, match=r"was split with another (split|patient).*run `sg-hub prepare` again"):
        open_store(recipe(f"split={path}", changed.replace("{other}", str(other))))
    moved = write_split(tmp_path / "moved.csv", dict(reversed(rows.items())))
    assert open_store(recipe(f"split={moved}", "seed=9")).names("test") == ["f"]
    prepare(recipe(f"split={other}"), progress=False)
    assert open_store(recipe(f"split={other}")).names("test") == ["a", "f"]


def test_another_share_of_drawn_patients(recipe, tmp_path):
    prepare(recipe(), progress=False)
    with pytest.raises(InvalidInputError, match="another validation_share"):
        open_store(recipe("validation_share=0.5"))
    zarr.open_group(store_path(recipe()), mode="r+").attrs.pop("split")
    (Path(store_path(recipe())) / "checksums.json").unlink()  # as stores of before
    assert open_store(recipe("validation_share=0.5")).names()


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_source_that_is_a_store(recipe, tmp_path, capsys, scheme):
    prepare(recipe(), progress=False)
    url = scheme + store_path(recipe())
    elsewhere = recipe(f"source={url}", f"run={tmp_path / 'elsewhere'}")
    assert store_path(elsewhere) == url
    summary = prepare(elsewhere, progress=False)
    assert f"{url} is a store of 6 scans or images: nothing to prepare" in capsys.readouterr().out
    assert summary.already_there == 6
    assert not (tmp_path / "elsewhere").exists()
    unfinished = Path(store_path(recipe())) / "patients.csv"
    unfinished.unlink()
    with pytest.raises(ReadError, match="not finished"):
        prepare(elsewhere, progress=False)


def test_a_source_that_is_a_store_of_other_settings(recipe, source, tmp_path):
    path = write_split(tmp_path / "split.csv", dict.fromkeys("abcde", "train") | {"f": "test"})
    other = write_split(tmp_path / "other.csv", dict.fromkeys("abcdef", "train"))
    prepare(recipe(f"split={path}"), progress=False)
    again = [f"source={store_path(recipe())}", f"run={tmp_path / 'elsewhere'}"]
    same = ["prepare.spacing=[2.0, 2.0, 3.0]", "validation_share=0.1"]
    for given in ([], [f"split={path}"], ["split="], ["split=/on/another/machine.csv"], ["seed=9"]):
        assert open_store(load_recipe("demo", [*again, *same, *given])).names("test") == ["f"]
    for given in (f"split={other}", "patient=(.)", "validation_share=0.5", "prepare.window=[0, 9]"):
        for step in (open_store, prepare):
            with pytest.raises(InvalidInputError, match=rf"with another {given.partition('=')[0].rpartition('.')[2]}"):
                step(load_recipe("demo", [*again, *same, given]))
