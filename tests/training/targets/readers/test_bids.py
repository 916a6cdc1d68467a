"""Data sets in BIDS."""

import pytest

from sg_hub import Preprocessing
from sg_hub.errors import InvalidInputError, ReadError
from tests.training.targets import target_folders as folders
from training.targets import load_target

WEIGHTS = Preprocessing(modality="MR", intensity="percentile", low=0.5, high=99.5, input_size=(8, 8, 8))
SEGMENTATION = ('head = "segmentation"', 'metric = "dice"')
CLASSES = ('head = "classification"', 'metric = "auc"', 'classes = ["control", "patient"]', 'column = "diagnosis"')


@pytest.fixture
def root(tmp_path):
    return folders.bids(tmp_path / "bids")


def target_of(root, *lines):
    file = root.parent / "t.toml"
    file.write_text("\n".join(['reader = "bids"', 'name = "brain"', f'root = "{root}"', *lines]))
    return load_target(file, weights=[WEIGHTS])


def test_sessions_of_a_subject_stay_together(root):
    target = target_of(root, *SEGMENTATION, 'classes = ["grey", "white"]')
    found = target.split_items()
    assert len(found.items) == 10
    parts = {item.patient: set() for item in found.items}
    for item in found.items:
        parts[item.patient].add(item.split)
    assert sorted(parts) == [f"sub-{number:02d}" for number in range(6)]
    assert all(len(split) == 1 for split in parts.values())
    assert (target.grid.intensity, target.patch) == ("percentile", (8, 8, 8))


def test_each_image_has_its_own_label_map_in_its_own_space(root):
    found = target_of(root, *SEGMENTATION, 'classes = ["grey", "white"]').find()
    for item in found.items:
        assert item.image.endswith(f"{item.name}_T1w.nii.gz")
        assert item.label.endswith(f"/fast/{item.patient}/{item.name.partition('_')[2]}/anat/{item.name}_dseg.nii.gz")


def test_masks_of_one_class_and_two_sequences(root):
    lines = (*SEGMENTATION, 'classes = ["lesion"]', 'labels_suffix = "mask"', 'desc = "lesion"')
    target = target_of(root, *lines, 'images = ["T1w", "FLAIR"]')
    (root / "sub-00" / "ses-2" / "anat" / "sub-00_ses-2_FLAIR.nii.gz").unlink()
    found = target.find()
    assert found.skipped == {"sub-00_ses-2": "no FLAIR image"}
    loaded = target.load(found.items[0])
    assert (target.channels, loaded.image.shape[0], int(loaded.label.sum())) == (2, 2, 4 * 4 * 2)


def test_classes_of_subjects(root):
    target = target_of(root, *CLASSES)
    found = target.find()
    assert {item.patient: item.label for item in found.items} == {
        f"sub-{number:02d}": number % 2 for number in range(5)
    }
    assert found.skipped == {"sub-05_ses-1": "participants.tsv has no diagnosis of sub-05"}
    loaded = target.load(found.items[0])
    assert (loaded.image.shape, int(loaded.label)) == ((1, 8, 8, 8), 0)


def test_label_maps_of_two_pipelines_and_of_another_space(root):
    stem = "sub-04_ses-1"
    folders.bids_labels(root / "derivatives" / "other" / "sub-04" / "ses-1" / "anat" / f"{stem}_dseg.nii.gz")
    with pytest.raises(InvalidInputError, match=r"sub-04_ses-1 has several label maps, .*fast.*other"):
        target_of(root, *SEGMENTATION, 'classes = ["grey", "white"]').find()
    fast = root / "derivatives" / "fast"
    (fast / "sub-04" / "ses-1" / "anat" / f"{stem}_dseg.nii.gz").unlink()
    found = target_of(root, *SEGMENTATION, 'classes = ["grey", "white"]', 'labels = "derivatives/fast"').find()
    assert found.skipped == {stem: "its label maps are in another space (MNI152NLin6Asym)"}


@pytest.mark.parametrize(
    ("lines", "error", "words"),
    [
        ((*SEGMENTATION, 'classes = ["a"]', 'images = ["T2w"]'), ReadError, r"no sub-\*/anat/\*_T2w"),
        ((*SEGMENTATION, 'classes = ["a"]', 'desc = "tumour"'), ReadError, r"no \*_desc-tumour_dseg"),
        ((*SEGMENTATION, 'classes = ["a"]', 'labels = "masks"'), ReadError, "masks is no folder"),
        ((*CLASSES[:3], 'column = "sex"'), ReadError, "lacks the column 'sex'"),
        ((*CLASSES[:2], 'classes = ["a", "b"]', CLASSES[3]), InvalidInputError, "is 'control'; expected one of"),
    ],
)
def test_what_is_not_there_is_said(root, lines, error, words):
    with pytest.raises(error, match=words):
        target_of(root, *lines).find()


def test_another_folder_is_no_bids(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(ReadError, match=r"no folders sub-\*"):
        target_of(tmp_path / "x", *SEGMENTATION, 'classes = ["a"]').find()
