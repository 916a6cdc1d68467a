"""No patient on both sides of a split, and none in the test that the weights were pre-trained on."""

import pytest

from sg_hub.errors import InvalidInputError
from training.data.leakage import check_disjoint, check_unseen, patient_hashes


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
