"""The protocol of target tasks: splits by patient, fractions of the labels, leakage, arrays and batches."""

from collections import Counter

import numpy as np
import pytest
import torch

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.targets.target_folders import lidc_patches, luna16, target_at, write_csv
from training.data.leakage import check_disjoint, name_hashes
from training.targets import Item, identities, in_parts, load_target
from training.targets.readers._lidc_xml import consensus
from training.targets.readers.lidc_patches import masks_of_readers
from training.targets.splits import label_fraction
from training.trials.batches import Batches
from training.trials.item_arrays import ItemArrays
from training.trials.prepared_task import scored_classes
from training.trials.slices import axial_slices, from_axial_slices

SMALL = ("grid.size=[16, 16, 8]", "settings.batch_size=4")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lidc")
    lidc_patches(folder)
    return folder


# -- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["metric=iou"], "does not go with head"),
        (["grid.size=[8, 8]"], "expected 3 numbers"),
        (["settings.epochs=3"], "epochs"),
        (["settings.mirror=q"], "mirror"),
        (["splits.test=1.5"], "test"),
        (["classes=['nodule']"], "at least two"),
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


# -- splits ----------------------------------------------------------------------------------------------------------


def test_a_split_is_by_patient_the_same_in_every_task_and_drawn_by_its_seed(root):
    splits = []
    for name in ("lidc-candidates", "lidc-nodules", "lidc-malignancy"):
        found = target_at(name, root, *SMALL, "splits.validation=0.2").split_items()
        by_patient = {item.patient: item.split for item in found.items}
        assert all(by_patient[item.patient] == item.split for item in found.items)
        splits.append(by_patient)
    assert splits[0] == splits[1] == splits[2]
    assert Counter(splits[0].values()) == {"train": 9, "validation": 2, "test": 5}
    other = target_at("lidc-nodules", root, *SMALL, "splits.seed=1").split_items()
    assert {item.patient: item.split for item in other.items} != splits[1]


def test_a_csv_comes_before_everything_else(root, tmp_path):
    rows = [(f"LIDC-IDRI-{n:04d}", ("train", "validation", "test")[n % 3]) for n in range(1, 13)]
    write_csv(tmp_path / "split.csv", ("patient", "split"), rows)
    found = target_at("lidc-nodules", root, *SMALL, f"splits.file={tmp_path / 'split.csv'}").split_items()
    assert {item.patient: item.split for item in found.items} == dict(rows)
    assert sum("is not in" in why for why in found.skipped.values()) == 4


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        ([("LIDC-IDRI-0001", "train"), ("LIDC-IDRI-0001", "test")], InvalidInputError, "in train and in test"),
        ([("LIDC-IDRI-0001", "holdout")], InvalidInputError, "'holdout'"),
        (
            [("LIDC-IDRI-0001", "train"), ("LIDC-IDRI-0002", "test")],
            InvalidInputError,
            "no item is left for validation",
        ),
    ],
)
def test_csv_that_make_no_split_are_refused(root, tmp_path, rows, error, said):
    write_csv(tmp_path / "split.csv", ("patient", "split"), rows)
    with pytest.raises(error, match=said):
        target_at(
            "lidc-nodules", root, *SMALL, f"splits.file={tmp_path / 'split.csv'}", "splits.validation=0"
        ).split_items()


def seen(*names):
    return name_hashes(f"lidc-idri/LIDC-IDRI-{number:04d}" for number in names)


def test_patients_of_the_pre_training_are_trained_on_where_the_target_says_so(root):
    target = target_at("lidc-nodules", root, *SMALL, "splits.pretrained=train")
    plain = target.split_items()
    tested = sorted({item.patient for item in in_parts(plain.items)["test"]})
    first = int(tested[0][-4:])
    found = target.split_items(seen(first))
    parts = {item.patient: item.split for item in found.items}
    assert parts[tested[0]] != "test"
    assert found.seen == 1
    assert Counter(parts.values())["test"] == len(tested)  # another patient takes the place
    assert set(tested[1:]) < {patient for patient, part in parts.items() if part == "test"}
    unchanged = target_at("lidc-nodules", root, *SMALL).split_items(seen(first))
    assert unchanged.items == plain.items
    with pytest.raises(InvalidInputError, match="16 of 16 patients were pre-trained on and are not tested"):
        target.split_items(seen(*range(1, 17)))


def test_an_official_test_part_loses_whom_the_weights_have_seen(tmp_path):
    luna16(tmp_path)
    target = target_at("ncc", tmp_path)
    series = sorted({item.patient for item in target.find().items})
    found = target.split_items(name_hashes(f"luna16/{name}" for name in (series[0], series[8])))
    parts = {item.patient: item.split for item in found.items}
    assert [parts[name] for name in series] == ["train"] * 5 + ["validation"] * 2 + ["test", "train", "test"]
    assert found.seen == 2
    assert {item.split for item in target_at("ncc", tmp_path).split_items().items if item.patient == series[8]} == {
        "test"
    }


# -- fractions of the labels -----------------------------------------------------------------------------------------


def items_of(labels, per_patient=2):
    return [Item(f"c{i}-{k}", f"p{i}", "x", label) for i, label in enumerate(labels) for k in range(per_patient)]


def test_fractions_lie_within_each_other_and_keep_whole_patients():
    items = items_of([None] * 40)
    for trial in range(3):
        kept = [{c.name for c in label_fraction(items, f, "t", trial)} for f in (0.1, 0.25, 0.5, 1.0)]
        assert [len(names) for names in kept] == [8, 20, 40, 80]
        assert kept[0] < kept[1] < kept[2] < kept[3]
    first, second = ({c.name for c in label_fraction(items, 0.25, "t", trial)} for trial in (0, 1))
    assert first != second
    assert first == {c.name for c in label_fraction(items, 0.25, "t", 0)}


def test_fractions_keep_the_share_of_classes_and_one_of_each():
    items = items_of([1] * 8 + [0] * 72)
    for fraction in (0.05, 0.25, 0.5):
        kept = Counter(item.label for item in label_fraction(items, fraction, "t", 0))
        assert kept[1] == 2 * max(1, round(8 * fraction + 0.01))
        assert kept[0] == 2 * int(np.ceil(72 * fraction))


def test_fractions_of_findings_keep_the_rare_ones():
    common, rare, both, none = (1, 0), (0, 1), (1, 1), (0, 0)
    items = items_of([common] * 20 + [rare] * 3 + [both] * 1 + [none] * 20)
    kept = [item.label for item in label_fraction(items, 0.1, "t", 0)]
    assert any(label[1] for label in kept)
    assert common in kept
    assert none in kept


@pytest.mark.parametrize("fraction", [0, -1, 1.5])
def test_fractions_that_are_none_are_refused(fraction):
    with pytest.raises(InvalidInputError, match="above 0"):
        label_fraction(items_of([None]), fraction, "t")


def test_items_can_be_left_out_by_name(root):
    whole = target_at("lidc-candidates", root, *SMALL).split_items()
    name = whole.items[0].name
    found = target_at("lidc-candidates", root, *SMALL, f'exclude=["{name}"]').split_items()
    assert [item.name for item in found.items] == [item.name for item in whole.items[1:]]
    assert found.skipped[name] == "in exclude"
    with pytest.raises(InvalidInputError, match="there is no item 'nobody'"):
        target_at("lidc-candidates", root, *SMALL, 'exclude=["nobody"]').split_items()


# -- leakage ---------------------------------------------------------------------------------------------------------


def test_parts_that_share_patients_are_refused(root):
    target = target_at("lidc-candidates", root, *SMALL)
    items = target.split_items().items
    parts = in_parts(items)
    assert not set(identities(target.dataset, items)["train"]) & set(identities(target.dataset, items)["test"])
    torn = parts["train"][0]
    leaked = [*items, type(torn)(**{**torn.__dict__, "name": "again", "split": "test"})]
    with pytest.raises(InvalidInputError, match=f"in train and in test: lidc-idri/{torn.patient}"):
        check_disjoint(identities(target.dataset, leaked))


def test_a_part_without_positives_is_refused_before_training(root, tmp_path):
    target = target_at("lidc-candidates", root, *SMALL)
    items = [item for item in target.split_items().items if item.split != "test" or item.label == 0]
    with pytest.raises(InvalidInputError, match="lidc-candidates, test part"):
        scored_classes(target, items)


# -- patches of LIDC-IDRI --------------------------------------------------------------------------------------------


def test_consensus_is_half_of_the_readers_who_outlined():
    bits = np.array([[0b0001, 0b0011, 0b1011, 0b0000]], dtype=np.uint8)
    masks = masks_of_readers(bits)
    assert len(masks) == 3
    assert consensus(masks).tolist() == [[False, True, True, False]]


@pytest.mark.parametrize("damage", ["missing", "truncated", "lacks", "offset", "columns"])
def test_damaged_archives_are_named(root, tmp_path, damage):
    data = dict(np.load(root / "nodules.npz"))
    path = tmp_path / "nodules.npz"
    if damage == "lacks":
        del data["mask"]
    if damage == "offset":
        data["offset"] = data["offset"][:-1]
    if damage == "columns":
        data["columns"] = np.array([f"column {i}" for i in range(10)])
    if damage != "missing":
        np.savez(path, **data)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ReadError, match=r"nodules\.npz"):
        target_at("lidc-nodules", tmp_path, *SMALL).split_items()


def test_nodules_that_disagree_with_the_annotation_are_skipped(root, tmp_path):
    data = dict(np.load(root / "nodules.npz"))
    data["table"][0, 8] = 0
    data["table"][1, 4] = 3
    np.savez(tmp_path / "nodules.npz", **data)
    skipped = target_at("lidc-malignancy", tmp_path, *SMALL).split_items().skipped
    assert "do not agree" in skipped["LIDC-IDRI-0001_0"]
    assert "neither benign nor malignant" in skipped["LIDC-IDRI-0002_1"]
    few = target_at("lidc-nodules", root, *SMALL, "minimum_readers=4").find().skipped
    assert set(few.values()) == {"outlined by 3 readers"}


# -- arrays and batches ---------------------------------------------------------------------------------------------


def test_samples_are_read_once_and_kept(root, tmp_path, monkeypatch):
    target = target_at("lidc-nodules", root, *SMALL)
    items = target.split_items().items
    first = ItemArrays(target, tmp_path)
    first.prepare(items, progress=False)
    monkeypatch.setattr(type(target), "load", lambda *_: pytest.fail("read twice"))
    for memory in (0, 64):
        again = ItemArrays(target, tmp_path, memory)
        for item in items:
            image, label = again[item]
            assert image.dtype == torch.float16
            assert image.shape == (1, 16, 16, 8)
            assert label.dtype == torch.uint8
            assert torch.equal(image, first[item][0])
    changed = ItemArrays(target_at("lidc-nodules", root, "grid.size=[8, 16, 8]"), tmp_path)
    with pytest.raises(pytest.fail.Exception):
        changed[items[0]]


def test_slices_are_axial_and_come_back():
    x = torch.zeros(1, 5, 6, 7)
    x[0, 4, 1, 3] = 1
    slices = axial_slices(x)
    assert slices.shape == (7, 1, 6, 5)
    assert slices[3, 0, 1, 4] == 1
    assert torch.equal(from_axial_slices(slices), x)


def test_batches_are_balanced_and_masks_move_with_the_image(root, tmp_path):
    overrides = ["settings.balanced=true", "settings.shift=3", "settings.mirror=xyz"]
    target = target_at("lidc-malignancy", root, *SMALL, *overrides)
    train = in_parts(target.split_items().items)["train"]
    x, y = Batches(target, ItemArrays(target, tmp_path), train).draw(torch.Generator().manual_seed(0))
    assert x.shape == (4, 1, 16, 16, 8)
    assert y.tolist() == [0, 1, 0, 1]
    target = target_at("lidc-nodules", root, *SMALL, "settings.shift=3", "settings.mirror=xyz")
    train = in_parts(target.split_items().items)["train"]
    for seed in range(5):
        x, y = Batches(target, ItemArrays(target, tmp_path), train).draw(torch.Generator().manual_seed(seed))
        assert torch.equal(x[:, 0] > 0.6, y == 1)  # blobs are bright wherever they were moved to


def test_patches_of_large_items_hold_the_classes_and_are_padded(root, tmp_path):
    target = target_at("lidc-nodules", root, *SMALL, "settings.patch=[8, 8, 8]")
    train = in_parts(target.split_items().items)["train"]
    batches = Batches(target, ItemArrays(target, tmp_path), train)
    x, y = batches.draw(torch.Generator().manual_seed(0))
    assert x.shape == (4, 1, 8, 8, 8)
    assert bool((y[0] == 1).any())
    assert bool((y[2] == 1).any())
    wide = target_at("lidc-nodules", root, *SMALL, "settings.patch=[24, 16, 8]", 'settings.mirror=""')
    x, y = Batches(wide, ItemArrays(wide, tmp_path), train).draw(torch.Generator().manual_seed(0))
    assert x.shape == (4, 1, 24, 16, 8)
    assert x[:, :, 16:].abs().sum() == 0


def test_batches_of_slices_are_2d(root, tmp_path):
    for name, labels in (("lidc-nodules-2d", (4, 32, 32)), ("lidc-candidates-2d", (4,))):
        target = target_at(name, root, "grid.size=[32, 32, 8]", "settings.batch_size=4")
        train = in_parts(target.split_items().items)["train"]
        x, y = Batches(target, ItemArrays(target, tmp_path), train).draw(torch.Generator().manual_seed(0))
        assert x.shape == (4, 1, 32, 32)
        assert y.shape == labels
