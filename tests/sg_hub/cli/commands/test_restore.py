"""sg-hub restore."""

from pathlib import Path

import pytest
from PIL import Image

from sg_hub import load_scan
from sg_hub.cli.commands.restore import draw_patches_of, hide_boxes, patch_size
from tests.sg_hub.cli.saying import CT, PREPROCESSING, XRAYS, assert_mistake, image, noise


@pytest.mark.parametrize(("given", "model"), [(CT, "pretext"), (XRAYS[0], "pretext-2d")])
def test_restore_draws_input_corrupted_and_restored(run, models, given, model):
    code, out, error = run("restore", given, "--model", models / model, "--cubes", 2)
    assert (code, error) == (0, "")
    assert "mean squared error" in out
    assert out.endswith("restored.png\n")
    with Image.open("restored.png") as picture:
        assert picture.height > 3 * 100


def test_restore_takes_a_scan_smaller_than_the_window(run, models, tmp_path):
    scan = image(tmp_path / "small.nii.gz", noise(3, 4, 5))
    assert run("restore", scan, "--model", models / "pretext", "--cubes", 1)[0] == 0


def test_same_seed_draws_the_same_picture(run, models):
    pictures = []
    for seed in (1, 1, 2):
        run("restore", CT, "--model", models / "pretext", "--cubes", 2, "--seed", seed)
        pictures.append(Path("restored.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_boxes_hide_a_third_of_each_side(models):
    cubes = draw_patches_of(PREPROCESSING.apply(load_scan(CT)), (32, 32, 16), 2, seed=0)
    assert cubes.shape == (2, 1, 32, 32, 16)
    changed = hide_boxes(cubes, seed=0, values=(-1, 1)) != cubes
    assert changed[:, :, 10:22, 10:22, 5:11].float().mean() > 0.99
    assert changed.sum() <= 2 * 12 * 12 * 6
    assert -1 <= hide_boxes(cubes, 0, (-1, 1)).min() < -0.9, "noise of the whole range that the network sees"


def test_patches_are_of_the_recommended_size_or_half_of_what_there_is():
    assert patch_size((32, 32, 16), (128, 100, 40), 8) == (32, 32, 16)
    assert patch_size((32, 32, 16), (50, 33, 17), 8) == (32, 32, 16)
    assert patch_size((32, 32, 16), (50, 30, 16), 8) == (32, 8, 8)
    assert patch_size((64, 64), (64, 64), 32) == (32, 32)
    assert patch_size((64, 64), (20, 40), 32) == (32, 32), "at least one stride"


def test_a_head_that_cannot_restore_is_said(run, models):
    assert_mistake(run("restore", CT, "--model", models / "segmentation"), "pretext")
