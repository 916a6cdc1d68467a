"""Classes of one side of the body: mirrored pairs are declared, or mirroring is refused."""

import numpy as np
import pytest
import torch

from sg_hub.errors import InvalidInputError
from tests.support.folders import DEMO_SAMPLES
from tests.training.targets.target_folders import write_csv, write_scan
from training.targets import list_targets, load_target
from training.targets.sides import check_sides, mirrored
from training.trials.task.batches import Batches
from training.trials.task.item_arrays import ItemArrays

PAIR = 'mirror_pairs=[["left lung", "right lung"]]'


@pytest.mark.parametrize(
    "classes",
    [
        ("left lung", "right lung"),
        ("heart", "right_parotid"),
        ("LeftKidney", "RightKidney"),
        ("kidney_L", "kidney_R"),
        ("KIDNEY RIGHT", "spleen"),
        ("lt femur", "rt femur"),
        ("lung_li", "lung_re"),
        ("linke Niere", "Leber"),
        ("poumon gauche", "poumon droit"),
        ("pulmo_sin", "pulmo_dex"),
        ("rene_sx", "rene_dx"),
        ("lh-cortex", "rh-cortex"),
        ("LUL", "RUL"),
        ("LLung", "RLung"),
        ("OpticNerve_L", "cord"),
        ("lung_sin", "cord"),
        ("R kidney", "L lung"),
        ("kidney (L)", "lung (R)"),
        ("Kidney (L)", "liver"),
        ("kidney-r", "cord"),
        ("Lt. kidney", "cord"),
        ("hippocampus_lh", "cord"),
        ("leftkidney", "cord"),
        ("RIGHTLUNG", "cord"),
        ("\u5de6\u80ba", "\u53f3\u80ba"),
    ],
)
def test_sides_are_told_by_the_names(classes):
    check_sides(classes, (), mirrors=False)
    with pytest.raises(ValueError, match="changes left and right, and the class"):
        check_sides(classes, (), mirrors=True)


@pytest.mark.parametrize(
    "classes",
    [
        ("cord", "mandible"),
        ("bright spot", "leftover"),
        ("type L", "type M"),
        ("righteous", "leftovers"),
        ("L-spine", "T-spine"),
        ("L", "T"),
        ("L kidney stone", "cord"),
        ("LV", "RA"),
        ("liver", "kidney"),
        ("s1", "d2"),
    ],
)
def test_other_names_say_no_side(classes):
    check_sides(classes, (), mirrors=True)


def test_a_pair_is_proposed_where_there_is_one():
    with pytest.raises(ValueError, match=r'mirror_pairs = \[\["kidney_L", "kidney_R"\]\], or leave x out'):
        check_sides(("kidney_L", "kidney_R"), (), mirrors=True)
    with pytest.raises(ValueError, match=r'mirror_pairs = \[\["LEFTKIDNEY", "RIGHTKIDNEY"\]\]'):
        check_sides(("LEFTKIDNEY", "RIGHTKIDNEY"), (), mirrors=True)
    with pytest.raises(ValueError, match="is of one side: leave x out of mirror"):
        check_sides(("heart", "left lung"), (), mirrors=True)


@pytest.mark.parametrize(
    ("pairs", "said"),
    [((("left lung", "right lnug"),), "'right lnug' is none of"), ((("left lung", "left lung"),), "is in it twice")],
)
def test_pairs_that_are_none_are_refused(pairs, said):
    with pytest.raises(ValueError, match=said):
        check_sides(("left lung", "right lung"), pairs, mirrors=True)


def test_mirrored_classes_change_places():
    names = ("background", "left lung", "heart", "right lung")
    assert mirrored(names, (("right lung", "left lung"),)) == (0, 3, 2, 1)
    assert mirrored(names, ()) == (0, 1, 2, 3)


def test_shipped_targets_and_the_sample_mirror_no_side():
    for name in [*list_targets(), str(DEMO_SAMPLES / "organs.toml")]:
        target = load_target(name)
        assert target.mirrored_classes == tuple(range(len(target.class_names)))
    organs = ['classes=["right_parotid", "left_parotid"]', "values={ right_parotid = 2, left_parotid = 3 }"]
    with pytest.raises(InvalidInputError, match=r"openkbp-organs: .*'right_parotid' is of one side"):
        load_target("openkbp-organs", [*organs, "background=others"])
    pairs = 'mirror_pairs=[["left_parotid", "right_parotid"]]'
    assert load_target("openkbp-organs", [*organs, "background=others", pairs]).mirrored_classes == (0, 2, 1)


def write_lungs(folder):
    """Scans of two sides: the patient's left (large x) is brighter, and 2 in the label maps."""
    image, label = np.full((16, 16, 8), -500, dtype=np.int16), np.zeros((16, 16, 8), dtype=np.uint8)
    image[2:6, 4:12], label[2:6, 4:12] = 100, 1
    image[10:14, 4:12], label[10:14, 4:12] = 900, 2
    for number in range(6):
        write_scan(folder / "images" / f"{number}.nii.gz", image)
        write_scan(folder / "labels" / f"{number}.nii.gz", label)
    write_csv(folder / "sides.csv", ("image", "label"), [(f"{n}.nii.gz", ("right", "left")[n % 2]) for n in range(6)])


def target_of(folder, *overrides):
    write_lungs(folder)
    (folder / "mine.toml").write_text(
        'reader = "folder"\nname = "mine"\nroot = "."\nhead = "segmentation"\nmetric = "iou"\n'
        'classes = ["right lung", "left lung"]\n[grid]\nsize = [16, 16, 8]\n[settings]\nmirror = "x"\n'
        "batch_size = 16\n",
        encoding="utf-8",
    )
    return load_target(folder / "mine.toml", overrides)


def test_what_is_left_is_left_when_an_item_is_mirrored(tmp_path):
    with pytest.raises(InvalidInputError, match="'right lung' is of one side"):
        target_of(tmp_path)
    target = target_of(tmp_path, PAIR)
    items = target.split_items().items
    x, y = Batches(target, ItemArrays(target, tmp_path / "out"), items).draw(torch.Generator().manual_seed(0))
    bright_on_the_right = 0
    for image, label in zip(x[:, 0], y, strict=True):
        middle = [float(torch.nonzero(label == number)[:, 0].float().mean()) for number in (1, 2)]
        assert middle[0] < middle[1]  # the class of the right is on the patient's right, whatever is in the picture
        bright_on_the_right += bool(image[:8].max() > image[8:].max())
    assert 2 < bright_on_the_right < 14


def test_classes_of_a_side_change_with_the_picture(tmp_path):
    overrides = ["head=classification", "metric=auc", "table=sides.csv", 'classes=["right", "left"]']
    with pytest.raises(InvalidInputError, match="'right' is of one side"):
        target_of(tmp_path, *overrides)
    target = target_of(tmp_path, *overrides, 'mirror_pairs=[["left", "right"]]')
    items = [item for item in target.find().items if item.label == 1]
    x, y = Batches(target, ItemArrays(target, tmp_path / "out"), items).draw(torch.Generator().manual_seed(0))
    mirrored_items = x[:, 0, :8].amax((1, 2, 3)) > x[:, 0, 8:].amax((1, 2, 3))
    assert torch.equal(y == 0, mirrored_items)
    assert 2 < int(mirrored_items.sum()) < 14
