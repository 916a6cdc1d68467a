"""Reading of PNG, JPEG and TIFF images, what is none, and writing of results."""

import os
import struct

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from sg_hub import Image, InvalidInputError, ReadError, load_image, load_scan
from sg_hub.io.labels import read_label_image
from tests.sg_hub.io.png_files import write_png
from tests.sg_hub.io.xray_files import ramp, write_xray
from tests.support.folders import DEMO_SAMPLES

SAMPLES = sorted((DEMO_SAMPLES / "chestxray14" / "images").glob("*.png"))


def save(tmp_path, array, name="image.png", **options):
    PillowImage.fromarray(array).save(tmp_path / name, **options)
    return tmp_path / name


# -- pictures ---------------------------------------------------------------------------------------------------


def test_a_real_xray():
    image = load_image(SAMPLES[0])
    assert image.array.shape == (1, 224, 224)
    assert image.array.dtype == np.float32
    assert 0 <= image.array.min() < 0.2 < 0.8 < image.array.max() <= 1
    assert "224 rows x 224 columns, grey" in repr(image)


@pytest.mark.parametrize(("bits", "colours", "right"), [(8, 2, False), (4, 2, False), (4, 16, False), (1, 2, True)])
def test_palettes_of_bmp_that_pillow_takes_for_other_bits_are_refused(tmp_path, bits, colours, right):
    numbers = np.random.default_rng(0).integers(0, 2, (7, 32), dtype=np.uint8)
    rows = np.packbits(np.unpackbits(numbers[::-1, :, None], axis=2)[..., -bits:].reshape(7, -1), axis=1)
    greys = (0, 255) if colours == 2 else range(colours)
    palette = b"".join(bytes((grey, grey, grey, 0)) for grey in greys)
    head = struct.pack("<IiiHHIIiiII", 40, 32, 7, 1, bits, 0, rows.size, 0, 0, colours, 0)
    start = 14 + len(head) + len(palette)
    data = struct.pack("<2sIHHI", b"BM", start + rows.size, 0, 0, start) + head + palette + rows.tobytes()
    (tmp_path / "a.bmp").write_bytes(data)
    if right:
        assert np.array_equal(load_image(tmp_path / "a.bmp").array[0], numbers)
        assert np.array_equal(read_label_image(tmp_path / "a.bmp"), numbers)
        return
    for read in (load_image, read_label_image):
        with pytest.raises(InvalidInputError, match=f"BMP of {bits} bits a pixel with a palette of .*as PNG"):
            read(tmp_path / "a.bmp")


@pytest.mark.parametrize("name", ["image.png", "image.tif", "image.jpg"])
def test_eight_bits(tmp_path, name):
    pixels = ramp(255, dtype=np.uint8)
    array = load_image(save(tmp_path, pixels, name)).array
    np.testing.assert_allclose(array[0], pixels / 255, atol=0.02 if name.endswith("jpg") else 1e-6)


@pytest.mark.parametrize("name", ["image.png", "image.tif"])
def test_sixteen_bits(tmp_path, name):
    pixels = ramp(65535)
    np.testing.assert_allclose(load_image(save(tmp_path, pixels, name)).array[0], pixels / 65535, atol=1e-6)


def test_twelve_bits_in_sixteen_are_warned_of_and_can_be_said(tmp_path, caplog):
    pixels = ramp(4095)
    path = save(tmp_path, pixels)
    assert load_image(path).array.max() == pytest.approx(4095 / 65535)
    assert "load_image(path, bits=12)" in caplog.text
    np.testing.assert_allclose(load_image(path, bits=np.uint8(12)).array[0], pixels / 4095, atol=1e-6)
    with pytest.raises(InvalidInputError, match="10 bits"):
        load_image(path, bits=10)


@pytest.mark.parametrize("bits", [0, 33, 8.0, "12", True])
def test_impossible_bit_depths(tmp_path, bits):
    with pytest.raises(InvalidInputError, match="bits="):
        load_image(save(tmp_path, ramp(255, dtype=np.uint8)), bits=bits)


@pytest.mark.parametrize("mode", ["L", "RGB", "LA"])
def test_more_bits_than_are_read_are_refused(tmp_path, mode):
    """Of 16 bits in colour pillow reads the upper 8: divided by 65535 the image would be black."""
    PillowImage.fromarray(ramp(255, dtype=np.uint8)).convert(mode).save(tmp_path / "image.png")
    with pytest.raises(InvalidInputError, match=r"bits=16 was given.*read with 8.*plain grey"):
        load_image(tmp_path / "image.png", bits=16)
    assert load_image(tmp_path / "image.png", bits=8).array.max() == 1


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_twelve_bits_in_colour_of_sixteen_are_warned_of(tmp_path, caplog, kind, channels):
    """Of 16 bits the upper 8 are read: of 12 bits in them 4 are left."""
    for most, warned in ((4095, True), (65535, False)):
        pixels = np.stack([ramp(most)] * channels, axis=-1)
        load_image(write_png(tmp_path / "image.png", pixels, 16, kind))
        assert ("the largest of which is 15 of 255: it will be dark" in caplog.text) == warned
        caplog.clear()


def test_white_is_zero_in_tiff(tmp_path):
    pixels = ramp(65535)
    path = save(tmp_path, pixels, "image.tif", tiffinfo={262: 0})
    with PillowImage.open(path) as opened:
        assert opened.tag_v2[262] == 0
    np.testing.assert_allclose(load_image(path).array[0], 1 - pixels / 65535, atol=1e-6)


def write_tiff(path, pixels, bits, photometric):
    """A TIFF of packed values, which pillow reads but does not write."""
    rows, columns = pixels.shape
    packed = np.packbits((pixels[..., None] >> np.arange(bits)[::-1] & 1).astype(np.uint8).reshape(rows, -1), axis=1)
    data = packed.tobytes() if bits % 16 else pixels.astype("<u2").tobytes()
    start = 8 + 2 + 12 * 9 + 4
    tags = {256: columns, 257: rows, 258: bits, 259: 1, 262: photometric, 273: start, 277: 1, 278: rows, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data)
    return path


def test_twelve_bits_in_tiff_are_as_bright_as_they_should_be(tmp_path, caplog):
    pixels = ramp(4095)
    path = write_tiff(tmp_path / "image.tif", pixels, 12, 1)
    np.testing.assert_allclose(load_image(path).array[0], pixels / 4095, atol=1e-6)
    np.testing.assert_allclose(load_image(path, bits=16).array[0], pixels / 65535, atol=1e-6)
    assert not caplog.records


@pytest.mark.parametrize(
    ("bits", "photometric", "words"), [(12, 0, "12 bits a value, white is zero"), (10, 1, "10 bits")]
)
def test_bit_depths_of_tiff_that_cannot_be_read_are_named(tmp_path, bits, photometric, words):
    path = write_tiff(tmp_path / "image.tif", ramp(2**bits - 1), bits, photometric)
    with pytest.raises(InvalidInputError, match=f"a TIFF of {words}.*save it with 8 or 16 bits"):
        load_image(path)


def test_floats_in_tiff(tmp_path):
    pixels = ramp(255).astype(np.float32) / 255
    np.testing.assert_array_equal(load_image(save(tmp_path, pixels, "image.tif")).array[0], pixels)
    with pytest.raises(InvalidInputError, match=r"values 0 to 255 .* bit depth"):
        load_image(save(tmp_path, pixels * 255, "image.tif"))
    white_is_zero = save(tmp_path, pixels, "image.tif", tiffinfo={262: 0})
    np.testing.assert_allclose(load_image(white_is_zero).array[0], 1 - pixels, atol=1e-6)


def test_colour_stays_colour_and_grey_in_colour_becomes_grey(tmp_path):
    grey = ramp(255, dtype=np.uint8)
    colour = np.stack([grey, grey.T.reshape(grey.shape), 255 - grey], -1)
    array = load_image(save(tmp_path, colour)).array
    np.testing.assert_allclose(array, np.moveaxis(colour, -1, 0) / 255, atol=1e-6)
    assert load_image(save(tmp_path, np.stack([grey] * 3, -1))).array.shape == (1, 12, 20)
    with_alpha = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    np.testing.assert_allclose(load_image(save(tmp_path, with_alpha)).array[0], grey / 255, atol=1e-6)
    palette = PillowImage.fromarray(grey).convert("P")
    palette.save(tmp_path / "palette.png")
    np.testing.assert_allclose(load_image(tmp_path / "palette.png").array[0], grey / 255, atol=1e-6)


@pytest.mark.parametrize("name", ["image.png", "image.tif"])
def test_turned_by_its_camera(tmp_path, name):
    pixels = ramp(255, (8, 16), np.uint8)
    picture = PillowImage.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    picture.save(tmp_path / name, exif=exif)
    np.testing.assert_allclose(load_image(tmp_path / name).array[0], np.rot90(pixels, -1) / 255, atol=1e-6)


# -- mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["image.png", "image.tif", "image.jpg", "image.dcm"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_files_that_are_cut_off(tmp_path, name, share):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    path = tmp_path / name
    write_xray(path, pixels) if name.endswith("dcm") else save(tmp_path, pixels, name)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ReadError, match=r"empty|truncated|format"):
        load_image(path)


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(ReadError, match="no format that can be read"):
        load_image(tmp_path / "notes.txt")
    with pytest.raises(ReadError, match="no such file"):
        load_image(tmp_path / "nothing.png")
    with pytest.raises(InvalidInputError, match="is a folder"):
        load_image(tmp_path)
    with pytest.raises(ReadError, match=r"notes\.txt is no folder; check the path"):
        load_image(tmp_path / "notes.txt" / "x.png")
    with pytest.raises(ReadError, match="check the path"):
        load_image(tmp_path / ("x" * 300 + ".png"))
    for wrong in ("a\0b.png", "\ud800.png"):
        with pytest.raises(InvalidInputError, match="characters that no path can have: give a file"):
            load_image(wrong)
    for wrong in (3, None, b"a.png"):
        with pytest.raises(InvalidInputError, match="a path is needed, not a value of type"):
            load_image(wrong)
    with pytest.raises(InvalidInputError, match="GIF file"):
        load_image(save(tmp_path, ramp(255, dtype=np.uint8), "image.gif"))


def test_several_images_in_one_file(tmp_path):
    pictures = [PillowImage.fromarray(ramp(255, dtype=np.uint8)) for _ in range(3)]
    pictures[0].save(tmp_path / "stack.tif", save_all=True, append_images=pictures[1:])
    with pytest.raises(InvalidInputError, match="holds 3 images"):
        load_image(tmp_path / "stack.tif")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for read in (load_image, load_scan, read_label_image):
        with pytest.raises(ReadError, match="neither a file nor a folder"):
            read(tmp_path / "pipe.png")


def test_too_many_pixels_are_refused_unless_they_are_allowed(tmp_path, monkeypatch):
    path = save(tmp_path, ramp(255, dtype=np.uint8))
    dicom = write_xray(tmp_path / "x.dcm", ramp(4095))
    monkeypatch.setenv("SG_HUB_MAX_BYTES", "959")
    for refused in (path, dicom):
        with pytest.raises(InvalidInputError, match="SG_HUB_MAX_BYTES=BYTES in the environment"):
            load_image(refused)
    monkeypatch.setenv("SG_HUB_MAX_BYTES", str(1 << 34))
    assert load_image(path).size == (12, 20)
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 100)  # pillow's own limit, which is lifted with ours
    assert load_image(path).size == (12, 20)
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.delenv("SG_HUB_MAX_BYTES")
    with pytest.raises(InvalidInputError, match=r"exceeds limit.*SG_HUB_MAX_BYTES=BYTES"):
        load_image(path)


def test_nothing_to_see(tmp_path):
    with pytest.raises(InvalidInputError, match="nothing to see"):
        load_image(save(tmp_path, np.full((8, 8), 7, np.uint8)))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((1, 4, 4)),
        np.full((1, 4, 4), 2, np.float32),
        np.zeros((1, 0, 4), np.float32),
    ],
)
def test_arrays_that_are_no_image(array):
    with pytest.raises(InvalidInputError, match=r"0\.\.1"):
        Image(array)


@pytest.mark.parametrize("spacing", [(0, -1), "ab", "12", (1,), (1, 2, 3), (True, True), (1, np.inf), 1.0])
def test_a_spacing_that_is_none_is_refused(spacing):
    with pytest.raises(InvalidInputError, match=r"two positive numbers \(rows, columns\) in mm, or None"):
        Image(np.zeros((1, 4, 4), np.float32), spacing)


def test_a_spacing_is_kept_as_plain_numbers():
    image = Image(np.zeros((1, 4, 4), np.float32), np.array([1, 2]))
    assert image.spacing == (1.0, 2.0)
    assert all(type(value) is float for value in image.spacing)
    assert "of 1 x 2 mm" in repr(image)


# -- results and preprocessing ----------------------------------------------------------------------------------


def test_results_are_written_as_they_are(tmp_path):
    image = load_image(SAMPLES[0])
    labels = np.random.default_rng(0).integers(0, 4, image.size)
    with PillowImage.open(image.save(labels, tmp_path / "labels.png")) as opened:
        np.testing.assert_array_equal(np.asarray(opened), labels)
    shares = torch.rand(1, *image.size)
    written = load_image(image.save(shares, tmp_path / "shares.tif"))
    np.testing.assert_allclose(written.array, shares.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64, np.float16])
def test_fractions_of_every_precision_are_the_same_grey_levels(tmp_path, kind):
    image = load_image(SAMPLES[0])
    shares = torch.linspace(0, 1, image.array.size).view(image.size)
    given = shares.numpy().astype(kind) if kind is np.float16 else shares.to(kind)
    written = load_image(image.save(given, tmp_path / "shares.png"))
    np.testing.assert_allclose(written.array[0], shares, atol=4e-3)  # bfloat16 has eight bits


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_full_disk_leaves_the_older_result(tmp_path, name, full_disk):
    image = Image(np.random.default_rng(0).random((1, 100, 100)).astype(np.float32))
    older = image.save(np.zeros(image.size, dtype=np.uint8), tmp_path / "a.png")
    older = older.rename(tmp_path / name)
    before = older.read_bytes()
    with full_disk(), pytest.raises(ReadError, match=r"cannot be written .*is there space"):
        image.save(image.array, older)
    assert older.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("array", "name", "word"),
    [
        (np.zeros((3, 3)), "a.png", "expected (224, 224)"),
        (np.full((224, 224), -1), "a.png", "labels are 0 to 65535"),
        (np.full((224, 224), 1.5), "a.png", "expected 0..1"),
        (np.zeros((224, 224)), "a.nii.gz", ".png or .tif"),
    ],
)
def test_results_that_cannot_be_written(tmp_path, array, name, word):
    with pytest.raises(InvalidInputError) as error:
        load_image(SAMPLES[0]).save(array, tmp_path / name)
    assert word in str(error.value)
