"""No patient on both sides of a split, and none in the test that the weights were pre-trained on."""

import pytest

from sg_hub.errors import InvalidInputError
from training.data.leakage import PUBLIC, check_disjoint, check_unseen, patient_hashes, told_by_name
from training.run.recipe_file import RECIPES, load_recipe
from training.run.settings import shipped
from training.targets import list_targets, load_target


def test_disjoint_parts_pass():
    check_disjoint({"train": ["a", "b"], "validation": ["c"], "test": []})


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"train": ["a", "b"], "validation": ["b"], "test": ["c"]}, "1 patients are in train and in validation: b"),
        ({"train": ["a", "b"], "validation": ["c"], "test": ["b", "a"]}, "2 patients are in train and in test: a, b"),
        ({"train": ["a"], "validation": ["c"], "test": ["d", "c"]}, "1 patients are in validation and in test: c"),
    ],
)
def test_shared_patients_are_named(parts, said):
    with pytest.raises(InvalidInputError, match=said):
        check_disjoint(parts)


def test_hashes_tell_patients_and_data_sets_apart():
    hashes = patient_hashes("openkbp", ["pt_2", "pt_1"])
    assert hashes == sorted(hashes)
    assert all(len(value) == 10 and int(value, 16) >= 0 for value in hashes)
    assert hashes == patient_hashes("openkbp", iter(["pt_1", "pt_2"]))
    assert len({*hashes, *patient_hashes("luna16", ["pt_1", "pt_2"])}) == 4
    assert "pt_1" not in str(hashes)


def test_test_patients_that_were_pre_trained_on_are_named():
    weights = {"patients": patient_hashes("openkbp", ["pt_1", "pt_2", "pt_3"])}
    assert check_unseen(weights, "openkbp", ["openkbp/pt_4", "openkbp/pt_5"]) == ""
    with pytest.raises(InvalidInputError, match=r"2 test patients were in the pre-training set .*pt_1, openkbp/pt_3\)"):
        check_unseen(weights, "openkbp", ["openkbp/pt_4", "openkbp/pt_3", "openkbp/pt_1"])


def test_a_name_in_another_data_set_is_another_patient():
    weights = {"patients": patient_hashes("luna16", ["pt_1"]), "datasets": ["luna16"]}
    assert check_unseen(weights, "openkbp", ["openkbp/pt_1"]) == ""


def test_a_patient_is_known_by_the_names_that_other_data_sets_give():
    weights = {"patients": patient_hashes("luna16", ["1.3.6.1.77"])}
    with pytest.raises(InvalidInputError, match=r"luna16/1\.3\.6\.1\.77"):
        check_unseen(weights, "lidc-idri", ["lidc-idri/LIDC-IDRI-0001", "luna16/1.3.6.1.77"])


def test_what_cannot_be_told_is_said():
    assert check_unseen({"patients": []}, "openkbp", ["openkbp/pt_1"]) == ""  # never trained
    assert "do not say" in check_unseen({}, "openkbp", ["openkbp/pt_1"])  # such as weights of others
    older = {"patients": patient_hashes("luna16", ["1.3.6.1.77"])}
    assert "in which data sets" in check_unseen(older, "lidc-idri", ["lidc-idri/LIDC-IDRI-0001"])
    assert check_unseen(older, "openkbp", ["openkbp/pt_1"]) == ""
    weights = {"patients": patient_hashes("luna16", ["1.3.6.1.77"]), "datasets": ["luna16"]}
    assert "pre-trained on luna16" in check_unseen(weights, "lidc-idri", ["lidc-idri/LIDC-IDRI-0001"])
    assert check_unseen(weights, "lidc-idri", ["lidc-idri/LIDC-IDRI-0001", "luna16/1.3.6.1.78"]) == ""


OWN = {"patients": patient_hashes("", ["a", "b"]), "datasets": [], "images": ["0123456789ab", "ba9876543210"]}


def test_images_are_known_whatever_their_data_set_is_called():
    seen = {"case7": ("ffffffffffff",), "case8": ("eeeeeeeeeeee", "0123456789ab")}
    with pytest.raises(InvalidInputError, match=r"1 test images .* in the pre-training set .*\(case8\)"):
        check_unseen(OWN, "my-task", ["my-task/case7", "my-task/case8"], seen)
    unseen = {"case7": ("ffffffffffff",), "case8": ("eeeeeeeeeeee",)}
    assert check_unseen(OWN, "my-task", ["my-task/case7", "my-task/case8"], unseen) == ""


@pytest.mark.parametrize("images", [None, {}, {"case7": ("ffffffffffff",), "case8": ()}])
def test_own_data_whose_images_are_not_known_cannot_be_told(images):
    said = check_unseen(OWN, "my-task", ["my-task/case7", "my-task/case8"], images)
    assert "cannot be told" in said
    assert "data without a name" in said


def test_published_weights_without_images_and_a_task_of_ones_own():
    published = {"patients": patient_hashes("openkbp", ["pt_1"]), "datasets": ["openkbp"]}
    hashes = {"case7": ("ffffffffffff",)}
    assert "(openkbp) cannot be told" in check_unseen(published, "my-task", ["my-task/case7"], hashes)
    assert check_unseen(published, "luna16", ["luna16/1.3.6"], hashes) == "", "both are known, and share nobody"
    assert check_unseen(published | {"images": ["0123456789ab"]}, "my-task", ["my-task/case7"], hashes) == ""


def test_names_decide_in_the_same_data_set():
    weights = {"patients": patient_hashes("clinic", ["a"]), "datasets": ["clinic"]}
    assert check_unseen(weights, "clinic", ["clinic/b"]) == ""
    with pytest.raises(InvalidInputError, match=r"1 test patients .*clinic/a"):
        check_unseen(weights, "clinic", ["clinic/a"])


def test_images_decide_in_a_data_set_of_ones_own_whose_patients_were_named_anew():
    weights = {"patients": patient_hashes("clinic", ["a"]), "datasets": ["clinic"], "images": ["0123456789ab"]}
    assert not told_by_name(weights, "clinic", ["clinic/b"])
    assert "cannot be told" in check_unseen(weights, "clinic", ["clinic/b"])
    assert check_unseen(weights, "clinic", ["clinic/b"], {"b": ("ffffffffffff",)}) == ""
    with pytest.raises(InvalidInputError, match="1 test images"):
        check_unseen(weights, "clinic", ["clinic/b"], {"b": ("0123456789ab",)})
    public = {"patients": patient_hashes("lits", ["a"]), "datasets": ["lits"], "images": ["0123456789ab"]}
    assert told_by_name(public, "lits", ["lits/b"])


def test_every_shipped_data_set_is_known():
    names = [load_target(name).dataset for name in list_targets()]
    names += [load_recipe(name).publish.dataset for name in shipped(RECIPES)]
    assert set(names) == PUBLIC
