"""Label maps: every number is a class, or is called background; nothing is lost on the way to training."""

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.targets.target_folders import write_scan
from training.targets import load_target

TOML = """
reader = "folder"
name = "mine"
root = "."
head = "segmentation"
metric = "iou"
classes = ["liver", "lesion"]
[grid]
size = [16, 16, 8]
"""


def target_of(folder, label, *overrides):
    """A target of one scan with this label map (X, Y, Z)."""
    image = np.random.default_rng(0).integers(-900, 900, (16, 16, 8)).astype(np.int16)
    write_scan(folder / "images" / "a.nrrd", image)
    (folder / "labels").mkdir(exist_ok=True)
    if isinstance(label, sitk.Image):
        sitk.WriteImage(label, str(folder / "labels" / "a.nrrd"))
    else:
        write_scan(folder / "labels" / "a.nrrd", label)
    (folder / "mine.toml").write_text(TOML, encoding="utf-8")
    return load_target(folder / "mine.toml", overrides)


def labels(*values):
    """A label map with a slab of each value."""
    array = np.zeros((16, 16, 8), dtype=np.uint8)
    for place, value in enumerate(values):
        array[2 * place : 2 * place + 2] = value
    return array


def load(target):
    return target.load(target.find().items[0]).label


def test_numbers_become_classes_in_the_order_of_the_classes(tmp_path):
    found = load(target_of(tmp_path, labels(7, 3, 4, 9), "values={ liver = 9, lesion = [3, 4] }", "background=[7]"))
    assert np.array_equal(found, labels(0, 2, 2, 1))


@pytest.mark.parametrize("background", ["[]", "[6]"])
def test_numbers_of_no_class_are_named_with_the_file(tmp_path, background):
    target = target_of(tmp_path, labels(1, 2, 5), f"background={background}")
    with pytest.raises(InvalidInputError, match=r"a\.nrrd holds the values 5, which no class .* \{'liver': 1"):
        load(target)


def test_all_other_numbers_are_background_where_the_target_says_so(tmp_path):
    assert np.array_equal(load(target_of(tmp_path, labels(1, 2, 5, 77), "background=others")), labels(1, 2, 0, 0))


@pytest.mark.parametrize(
    "overrides",
    [["values={ liver = 1, lesion = [1, 2] }"], ["values={ liver = 1, lesion = 2 }", "background=[2]"]],
)
def test_a_number_of_two_meanings_is_refused(tmp_path, overrides):
    with pytest.raises(InvalidInputError, match="is there twice"):
        target_of(tmp_path, labels(1, 2), *overrides)


def test_a_label_map_of_several_layers_is_refused(tmp_path):
    layers = np.zeros((8, 16, 16, 2), dtype=np.uint8)
    layers[2:6, 2:6, 2:6, 0], layers[4:8, 4:8, 4:8, 1] = 1, 2
    target = target_of(tmp_path, sitk.GetImageFromArray(layers, isVector=True))
    with pytest.raises(InvalidInputError, match=r"a\.nrrd has 2 layers"):
        load(target)


def pictures(folder, suffix, **options):
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[10:40, 20:50] = 255
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (64, 1))).save(folder / "images" / "a.png")
    Image.fromarray(mask).save(folder / "labels" / f"a{suffix}", **options)
    settings = ["dims=2", "ndim=2", 'classes=["box"]', "values={ box = 255 }", "grid={ size = [64, 64] }"]
    (folder / "mine.toml").write_text(TOML, encoding="utf-8")
    return load_target(folder / "mine.toml", settings), mask


def test_masks_of_pictures_keep_their_area(tmp_path):
    target, mask = pictures(tmp_path, ".png")
    assert np.array_equal(load(target), mask > 0)


@pytest.mark.parametrize(
    ("suffix", "options"), [(".jpg", {}), (".tif", {"compression": "jpeg"}), (".png", {"format": "JPEG"})]
)
def test_jpeg_masks_are_refused(tmp_path, suffix, options):
    target, _ = pictures(tmp_path, suffix, **options)
    with pytest.raises(ReadError, match="JPEG"):
        load(target)
