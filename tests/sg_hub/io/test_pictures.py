"""Pictures: the right way up, in their true shape, in the colours that the legend says."""

import os

import numpy as np
import pytest
from PIL import Image

from sg_hub.errors import ReadError
from sg_hub.io.pictures import Row, axial, colour_of, coronal, grey, montage, overlay, save_png

# (X, Y, Z) in LPS order, with a bright voxel at the patient's left, anterior, superior end.
VOLUME = np.zeros((4, 6, 8), dtype=np.float32)
VOLUME[-1, 0, -1] = 1


def white(height, width):
    return np.full((height, width, 3), 200, dtype=np.uint8)


def extent_of(picture, colour):
    """Height and width in pixels of what has a colour."""
    rows, columns = np.nonzero((np.asarray(picture) == colour).all(axis=2))
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def test_axial_slices_have_anterior_up_and_the_left_side_on_the_right():
    image = axial(VOLUME, 7)
    assert image.shape == (6, 4)
    assert np.argwhere(image).tolist() == [[0, 3]]


def test_coronal_slices_have_superior_up_and_the_left_side_on_the_right():
    image = coronal(VOLUME, 0)
    assert image.shape == (8, 4)
    assert np.argwhere(image).tolist() == [[0, 3]]


def test_grey_clips_to_the_window():
    assert grey(np.array([[-1.0, 0.5, 2.0]]))[0, :, 0].tolist() == [0, 127, 255]


def test_slices_are_drawn_in_their_true_shape():
    picture = montage([Row("", [white(10, 20)], pixel=(3.0, 1.0))], cell=100)
    assert extent_of(picture, 200) == (150, 100)
    picture = montage([Row("", [white(10, 20)])], cell=100)
    assert extent_of(picture, 200) == (50, 100)


def test_narrow_tall_slices_are_drawn_smaller():
    picture = montage([Row("", [white(100, 1)])], cell=100)
    assert extent_of(picture, 200) == (400, 4)


def test_large_slices_are_averaged_and_small_ones_stay_sharp():
    stripes = np.zeros((100, 100, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    shrunk = np.asarray(montage([Row("", [stripes])], cell=50))
    assert (shrunk == 100).all(axis=2).sum() == 50 * 50
    enlarged = np.asarray(montage([Row("", [stripes])], cell=200))
    assert (enlarged == 200).all(axis=2).sum() == 200 * 100


def test_rows_have_room_for_every_slice_and_their_label():
    picture = np.asarray(montage([Row("one", [white(4, 4)] * 3), Row("two", [white(4, 4)])], cell=50))
    assert (picture == 200).all(axis=2).sum() == 4 * 50 * 50
    dark = (picture < 100).any(axis=2)
    assert dark[:20].any(), "no label over the first row"
    long = montage([Row("a label that is much wider than its slice", [white(4, 4)])], cell=10)
    short = montage([Row("a", [white(4, 4)])], cell=10)
    assert long.width > short.width + 100


@pytest.mark.parametrize(("text", "drawn"), [("Größe é", "Grosse e"), ("漢 1", "? 1"), ("a_b, 0.5", "a_b, 0.5")])
def test_texts_are_drawn_in_letters_that_the_font_has(text, drawn):
    pictures = [montage([Row(label, [white(10, 10)])], legend={label: 1}) for label in (text, drawn)]
    assert np.array_equal(*map(np.asarray, pictures))


def test_overlay_colours_labels_and_leaves_the_rest():
    labels = np.array([[0, 1, 2]], dtype=np.uint8)
    drawn = overlay(np.full((1, 3), 0.5), labels, opacity=1)
    assert [tuple(pixel) for pixel in drawn[0].tolist()] == [(127, 127, 127), colour_of(1), colour_of(2)]
    assert colour_of(1) != colour_of(2)
    half = overlay(np.zeros((1, 3)), labels, opacity=0.5)
    np.testing.assert_allclose(half[0, 1], np.array(colour_of(1)) / 2, atol=1)


def test_more_labels_than_colours_repeat_them():
    assert overlay(np.zeros((1, 1)), np.array([[255]], dtype=np.uint8), 1)[0, 0].tolist() == list(colour_of(255))


def test_twenty_classes_have_colours_that_are_told_apart_from_each_other_and_from_grey():
    colours = np.array([colour_of(label) for label in range(1, 21)], dtype=float)
    apart = np.linalg.norm(colours[:, None] - colours, axis=2)
    assert apart[~np.eye(20, dtype=bool)].min() > 60
    assert np.ptp(colours, axis=1).min() > 60
    assert colour_of(21) == colour_of(1)


def test_legend_shows_the_colour_of_every_class():
    rows = [Row("", [white(4, 4)])]
    legend = {f"class {label}": label for label in range(1, 6)}
    picture = montage(rows, cell=100, legend=legend)
    for label in legend.values():
        assert extent_of(picture, colour_of(label)) == (12, 12)
    assert picture.height > montage(rows, cell=100).height + 2 * 18, "a narrow picture needs several lines"
    assert picture.width == montage(rows, cell=100).width


def test_png_is_written_completely_or_not_at_all(tmp_path):
    path = save_png(montage([Row("", [white(4, 4)])]), tmp_path / "picture.png")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
    assert os.listdir(tmp_path) == ["picture.png"]
    with pytest.raises(ReadError, match=r"cannot be written"):
        save_png(Image.new("RGB", (2, 2)), tmp_path / "missing" / "picture.png")
