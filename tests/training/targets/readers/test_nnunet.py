"""Folders as nnU-Net keeps them."""

import json

import numpy as np
import pytest

from sg_hub import Preprocessing
from sg_hub.errors import InvalidInputError, ReadError
from tests.training.targets.target_folders import CT, LIVER, nnunet, write_scan
from training.targets import load_target

MR = {"0": "T1", "1": "FLAIR"}


WEIGHTS = Preprocessing(spacing=(2, 2, 3), input_size=(16, 16, 8))


def target_of(folder, *lines):
    file = folder.parent / "t.toml"
    file.write_text("\n".join(['reader = "nnunet"', f'root = "{folder}"', *lines]))
    return load_target(file, weights=[WEIGHTS])


def test_the_folder_says_it_all(tmp_path):
    target = target_of(nnunet(tmp_path / "Dataset007_Liver"))
    assert (target.name, target.classes, target.channels, target.metric) == ("Liver", ("liver", "tumour"), 1, "dice")
    assert (target.grid.intensity, target.grid.low, target.grid.spacing) == ("window", -1000.0, (2, 2, 3))
    assert target.patch == (16, 16, 8)
    found = target.split_items()
    assert {item.split for item in found.items} == {"train", "validation", "test"}
    loaded = target.load(found.items[0])
    assert loaded.image.shape == (1, 16, 14, 10)
    assert [int((loaded.label == number).sum()) for number in (1, 2)] == [8 * 6 * 5 - 8, 8]


def test_several_channels_of_mri(tmp_path):
    folder = nnunet(tmp_path / "Dataset008_Brain", channels=MR, ending=".nrrd")
    target = target_of(folder)
    assert (target.channels, target.grid.intensity) == (2, "percentile")
    found = target.find()
    assert [item.sequences for item in found.items[:1]] == [(str(folder / "imagesTr" / "pat0_0_0001.nrrd"),)]
    assert target.load(found.items[0]).image.shape[0] == 2
    write_scan(folder / "imagesTr" / "pat0_0_0001.nrrd", np.ones((16, 14, 10)).cumsum(0), spacing=(2, 2, 4))
    with pytest.raises(InvalidInputError, match=r"pat0_0_0001\.nrrd lies elsewhere"):
        target.load(found.items[0])
    (folder / "imagesTr" / "pat1_0_0001.nrrd").unlink()
    assert "imagesTr/pat1_0_0001.nrrd is not there" in target.find().skipped["pat1_0"]


def test_labelled_test_cases_are_the_test_part(tmp_path):
    found = target_of(nnunet(tmp_path / "Dataset007_Liver", tests=2)).split_items()
    assert {item.name for item in found.items if item.split == "test"} == {"pat3_0", "pat3_1"}


def test_cases_of_one_patient_stay_together(tmp_path):
    found = target_of(nnunet(tmp_path / "Dataset007_Liver", cases=12), "patient = '(pat\\d+)_'").split_items()
    parts = {item.patient: set() for item in found.items}
    for item in found.items:
        parts[item.patient].add(item.split)
    assert sorted(parts) == [f"pat{number}" for number in range(6)]
    assert all(len(split) == 1 for split in parts.values())
    with pytest.raises(InvalidInputError, match="finds no patient in the name of case 'pat0_0'"):
        target_of(tmp_path / "Dataset007_Liver", "patient = 'subject'").find()


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"labels": {"background": 0, "whole": [1, 2]}}, InvalidInputError, "'whole' is a region"),
        ({"labels": LIVER | {"ignore": 3}}, InvalidInputError, "ignore label"),
        ({"labels": {"Background": 0, "liver": 1}}, InvalidInputError, "Background has the number 0"),
        ({"labels": None}, ReadError, "has no labels"),
        ({"channel_names": None, "modality": CT}, InvalidInputError, "nnUNetv2_convert_MSD_dataset"),
        ({"channel_names": None}, ReadError, "no channel_names"),
        ({"file_ending": ".png"}, InvalidInputError, 'reader = "folder"'),
    ],
)
def test_what_cannot_be_meant_is_said(tmp_path, changed, error, words):
    folder = nnunet(tmp_path / "Dataset007_Liver", cases=2)
    told = json.loads((folder / "dataset.json").read_text()) | changed
    (folder / "dataset.json").write_text(json.dumps({k: v for k, v in told.items() if v is not None}))
    with pytest.raises(error, match=words):
        target_of(folder).find()


def test_classes_keep_their_numbers_whatever_their_order(tmp_path):
    folder = nnunet(tmp_path / "Dataset007_Liver")
    target = target_of(folder, 'classes = ["tumour", "liver"]')
    loaded = target.load(target.find().items[0])
    assert [int((loaded.label == number).sum()) for number in (1, 2)] == [8, 8 * 6 * 5 - 8]
    with pytest.raises(InvalidInputError, match=r"classes lesion are none of .*, which has liver, tumour"):
        target_of(folder, 'classes = ["liver", "lesion"]')


def test_regions_can_be_given_as_classes(tmp_path):
    folder = nnunet(tmp_path / "Dataset007_Liver", labels={"background": 0, "whole": [1, 2], "core": [2]})
    target = target_of(folder, 'classes = ["whole"]', "values = { whole = [1, 2] }")
    assert int(target.load(target.find().items[0]).label.sum()) == 8 * 6 * 5


def test_missing_folders(tmp_path):
    nnunet(tmp_path / "raw" / "Dataset007_Liver", cases=2)
    with pytest.raises(ReadError, match=r"give root=.*Dataset007_Liver"):
        target_of(tmp_path / "raw").find()
    (tmp_path / "raw" / "Dataset007_Liver" / "dataset.json").write_text("[")
    with pytest.raises(ReadError, match="cannot be read"):
        target_of(tmp_path / "raw" / "Dataset007_Liver")
    with pytest.raises(ReadError, match="not there"):
        target_of(tmp_path / "nowhere")
