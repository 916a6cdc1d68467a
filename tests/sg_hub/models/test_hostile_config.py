"""A config.json that asks for what cannot be, or for more memory than there is."""

import pytest
import torch

import sg_hub
from sg_hub import InvalidInputError, SemanticGenesis3D
from tests.sg_hub.models.model_folders import change_config
from tests.support.memory import peak_growth


def build():
    torch.manual_seed(3)
    return SemanticGenesis3D(width=2, num_classes=5, norm="batch")


@pytest.fixture
def folder(tmp_path):
    build().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    "values",
    [
        {"width": 200_000},
        {"width": 1 << 29},
        {"width": 10**300},
        {"width": "8"},
        {"width": 2.0},
        {"width": None},
        {"width": [2]},
        {"num_classes": 10**9},
        {"num_classes": -1},
        {"num_classes": {}},
        {"in_chans": 1 << 30},
        {"in_chans": True},
        {"head": "detection"},
        {"head": ["pretext"]},
        {"head": None},
        {"norm": "layer"},
        {"norm": ["batch"]},
        {"norm": "x" * 100_000},
        {"class_names": ["a", "b", "c", "d", "\ud800"]},
        {"class_names": "abcde"},
        {"class_names": ["a"]},
        {"class_names": [1, 2, 3, 4, 5]},
        {"class_names": None},
        {"multilabel": "no"},
        {"multilabel": True},
        {"preprocessing": None},
        {"preprocessing": []},
        {"preprocessing": "window"},
        {"provenance": []},
    ],
    ids=lambda values: str(values)[:40],
)
def test_a_config_that_asks_for_the_impossible_is_refused_before_any_memory_is_taken(folder, values):
    change_config(folder, **values)

    def load():
        with pytest.raises(sg_hub.SgHubError) as error:
            sg_hub.from_pretrained(folder)
        assert str(folder) in str(error.value)
        assert len(str(error.value)) < 2000

    assert peak_growth(load) < 256


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("modality", 3),
        ("intensity", ["window"]),
        ("low", "0"),
        ("low", 10**400),
        ("high", None),
        ("spacing", "1 1 1"),
        ("spacing", [1, 1]),
        ("spacing", [1, 1, 0]),
        ("spacing", 3),
        ("orientation", None),
        ("input_size", [32, 32]),
        ("input_size", [32, 32, 1e300]),
        ("input_size", {"x": 1}),
        ("size", [0, 1, 1]),
        ("size", "abc"),
    ],
    ids=str,
)
def test_wrong_types_in_the_preprocessing_of_a_config_name_the_file(folder, key, value):
    preprocessing = build().preprocessing.to_dict() | {key: value}
    change_config(folder, preprocessing=preprocessing)
    with pytest.raises(sg_hub.SgHubError) as error:
        sg_hub.from_pretrained(folder)
    assert str(folder / "config.json") in str(error.value)
    assert key in str(error.value) or "percentile" in str(error.value)


def test_an_option_that_asks_for_far_more_than_the_weights_is_refused(folder):
    with pytest.raises(InvalidInputError, match=r"needs .* GB"):
        sg_hub.from_pretrained(folder, head="classification", num_classes=1 << 29)
