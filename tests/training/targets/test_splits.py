"""Who is trained, validated and tested on: by patient, of a CSV, without the pre-training; fractions of the labels."""

from collections import Counter

import numpy as np
import pytest

from sg_hub.errors import InvalidInputError
from tests.training.targets.target_folders import luna16, target_at, write_csv
from training.data.leakage import name_hashes
from training.targets import Item, in_parts, list_targets, load_target
from training.targets.splits import few_patients, label_fraction, read_split

SMALL = ("grid.size=[16, 16, 8]", "settings.batch_size=4")


def seen(*names):
    return name_hashes(f"lidc-idri/LIDC-IDRI-{number:04d}" for number in names)


def items_of(labels, per_patient=2):
    return [Item(f"c{i}-{k}", f"p{i}", "x", label) for i, label in enumerate(labels) for k in range(per_patient)]


def test_a_split_is_by_patient_the_same_in_every_task_and_drawn_by_its_seed(patches):
    splits = []
    for name in ("lidc-candidates", "lidc-nodules", "lidc-malignancy"):
        found = target_at(name, patches, *SMALL, "splits.validation=0.2").split_items()
        by_patient = {item.patient: item.split for item in found.items}
        assert all(by_patient[item.patient] == item.split for item in found.items)
        splits.append(by_patient)
    assert splits[0] == splits[1] == splits[2]
    assert Counter(splits[0].values()) == {"train": 9, "validation": 2, "test": 5}
    other = target_at("lidc-nodules", patches, *SMALL, "splits.seed=1").split_items()
    assert {item.patient: item.split for item in other.items} != splits[1]


def test_a_csv_comes_before_everything_else(patches, tmp_path):
    rows = [(f"LIDC-IDRI-{n:04d}", ("train", "validation", "test")[n % 3]) for n in range(1, 13)]
    write_csv(tmp_path / "split.csv", ("patient", "split"), rows)
    found = target_at("lidc-nodules", patches, *SMALL, f"splits.file={tmp_path / 'split.csv'}").split_items()
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
            "no item is left for validation .2 items of 2 patients found, 14 skipped.*: give more patients[^\\n]*$",
        ),
    ],
)
def test_csv_that_make_no_split_are_refused(patches, tmp_path, rows, error, said):
    write_csv(tmp_path / "split.csv", ("patient", "split"), rows)
    with pytest.raises(error, match=said):
        target_at(
            "lidc-nodules", patches, *SMALL, f"splits.file={tmp_path / 'split.csv'}", "splits.validation=0"
        ).split_items()


def test_patients_of_the_pre_training_are_trained_on_where_the_target_says_so(patches):
    target = target_at("lidc-nodules", patches, *SMALL, "splits.pretrained=train")
    plain = target.split_items()
    tested = sorted({item.patient for item in in_parts(plain.items)["test"]})
    first = int(tested[0][-4:])
    found = target.split_items(seen(first))
    parts = {item.patient: item.split for item in found.items}
    assert parts[tested[0]] != "test"
    assert found.seen == 1
    assert Counter(parts.values())["test"] == len(tested)  # another patient takes the place
    assert set(tested[1:]) < {patient for patient, part in parts.items() if part == "test"}
    unchanged = target_at("lidc-nodules", patches, *SMALL).split_items(seen(first))
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


def drawn(items, count, trial=0, classes=lambda item: {item.label}, wanted=()):
    return {item.patient for item in few_patients(items, count, classes, wanted, "t", trial)}


def test_few_patients_lie_within_more_and_differ_by_trial():
    items = items_of([0] * 20)
    kept = [drawn(items, count) for count in (1, 3, 10, 20)]
    assert [len(names) for names in kept] == [1, 3, 10, 20]
    assert kept[0] < kept[1] < kept[2] < kept[3]
    assert drawn(items, 3) == kept[1]
    assert len({tuple(sorted(drawn(items, 3, trial))) for trial in range(5)}) == 5
    assert len(few_patients(items, 1, lambda item: set(), (), "t", 0)) == 2  # none is cut


def test_the_first_patients_have_every_class_as_soon_as_may_be():
    items = items_of([0] * 18 + [1, 2])
    for trial in range(5):
        assert {"p18", "p19"} < drawn(items, 3, trial, wanted=range(3))
    both = [*items, Item("b", "p7", "x", 1), Item("c", "p7", "x", 2)]
    assert all(drawn(both, 1, trial, wanted=range(3)) == {"p7"} for trial in range(5))
    assert len(drawn(items, 3, wanted=range(9))) == 3  # what nobody has keeps nobody out


@pytest.mark.parametrize("count", [0, 21])
def test_more_patients_than_there_are_is_refused(count):
    with pytest.raises(InvalidInputError, match=f"{count} labelled patients: expected 1 to 20"):
        drawn(items_of([0] * 20), count)


def test_splits_that_shipped_targets_name_ship_with_them():
    named = {
        file for name in list_targets() if (file := load_target(name).splits.file) and not file.startswith("data/")
    }
    assert named
    for file in named:
        assert set(read_split(file).values()) >= {"train", "test"}
