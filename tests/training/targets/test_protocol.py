"""The protocol of target tasks: settings that fit together, items by name, and how new images are taken."""

import pytest

from sg_hub import ImagePreprocessing, Preprocessing
from sg_hub.errors import InvalidInputError, ReadError
from tests.training.targets.target_folders import target_at
from training.data.leakage import check_disjoint
from training.targets import identities, in_parts, load_target

SMALL = ("grid.size=[16, 16, 8]", "settings.batch_size=4")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["metric=iou"], "does not go with head"),
        (["grid.size=[8, 8]"], "expected 3 numbers"),
        (["settings.epochs=3"], "epochs"),
        (["settings.mirror=q"], "mirror"),
        (["splits.test=1.5"], "test"),
        (["classes=['nodule']"], "at least two"),
        (["classes=['nodule', 'scan']"], "'scan' is a column of the tables of results"),
        (['name="../up"'], "it names files and folders"),
        (['name="a\\nb"'], "it names files and folders"),
    ],
)
def test_settings_that_do_not_fit_are_refused(overrides, said):
    with pytest.raises(InvalidInputError, match=said):
        load_target("lidc-candidates", overrides)


def test_unknown_targets_and_readers_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="lidc-nodules"):
        load_target("lidc-nodule")
    (tmp_path / "mine.toml").write_text('reader = "tar"\n', encoding="utf-8")
    with pytest.raises(InvalidInputError, match="luna16"):
        load_target(tmp_path / "mine.toml")


def test_a_missing_folder_is_named_with_the_file_that_names_it(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'reader = "folder"\nname = "t"\nroot = "gone"\nhead = "segmentation"\nmetric = "iou"\nclasses = ["a"]\n'
        "grid = { size = [8, 8, 8] }\n",
        encoding="utf-8",
    )
    with pytest.raises(ReadError, match=r"target t \(.*mine\.toml\): gone is not there"):
        load_target(tmp_path / "mine.toml").split_items()


def test_items_can_be_left_out_by_name(patches):
    whole = target_at("lidc-candidates", patches, *SMALL).split_items()
    name = whole.items[0].name
    found = target_at("lidc-candidates", patches, *SMALL, f'exclude=["{name}"]').split_items()
    assert [item.name for item in found.items] == [item.name for item in whole.items[1:]]
    assert found.skipped[name] == "in exclude"
    with pytest.raises(InvalidInputError, match="there is no item 'nobody'"):
        target_at("lidc-candidates", patches, *SMALL, 'exclude=["nobody"]').split_items()


def test_parts_that_share_patients_are_refused(patches):
    target = target_at("lidc-candidates", patches, *SMALL)
    items = target.split_items().items
    parts = in_parts(items)
    assert not set(identities(target.dataset, items)["train"]) & set(identities(target.dataset, items)["test"])
    torn = parts["train"][0]
    leaked = [*items, type(torn)(**{**torn.__dict__, "name": "again", "split": "test"})]
    with pytest.raises(InvalidInputError, match=f"in train and in test: lidc-idri/{torn.patient}"):
        check_disjoint(identities(target.dataset, leaked))


def test_doubtful_items_stay_in_and_one_that_is_not_there_is_said(patches):
    name = target_at("lidc-candidates", patches, *SMALL).split_items().items[0].name
    found = target_at(
        "lidc-candidates", patches, *SMALL, f'doubtful={{ {name} = "why", nobody = "why" }}'
    ).split_items()
    assert name in {item.name for item in found.items}
    assert found.skipped["nobody"] == "named in doubtful, and not there"


def test_the_grid_is_a_preprocessing_of_sg_hub(patches):
    target = load_target("bms")
    assert target.preprocessing("CT") == Preprocessing("MR", "percentile", 0.5, 99.5, input_size=(64, 64, 32))
    assert load_target("lcs").preprocessing("CT") == Preprocessing(spacing=(1.5, 1.5, 2.0), input_size=(64, 64, 32))
    assert load_target("dxc").preprocessing("CR") == ImagePreprocessing("CR", input_size=(224, 224))
    for grid, said in (
        ("grid={ intensity = 'percentile' }", "'percentile' needs both, such as 0.5 and 99.5"),
        ("grid={ low = 5.0, high = 1.0 }", "low"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            load_target("lcs", [grid])
    with pytest.raises(InvalidInputError, match="cubes are cut out of their scans first, and need a window"):
        load_target("ncc", ["grid={ intensity = 'zscore', low = -3, high = 3, size = [16, 16, 8] }"])
