"""Label maps keep their numbers, or are refused."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image as PillowImage

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.labels import check_same_place, load_labels, read_label_image
from sg_hub.io.scan import IDENTITY, Scan, load_scan
from tests.sg_hub.io.formats.dicom.dicom_files import VOLUME, compress, write_series
from tests.sg_hub.io.png_files import write_png

MAP = np.arange(8 * 9 * 10).reshape(10, 9, 8) % 7


def write(tmp_path, array, name, vector=False):
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(tmp_path / name))
    return tmp_path / name


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.int64])
def test_one_layer_is_read(tmp_path, suffix, kind):
    if kind is np.int64 and suffix == ".mha":
        kind = np.int32  # ITK writes none of 64 bits there
    scan = load_labels(write(tmp_path, MAP.astype(kind), f"map{suffix}"))
    assert scan.array.shape == (1, 8, 9, 10)
    assert np.array_equal(scan.array[0].T, MAP)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("layers", [2, 5])
def test_several_layers_are_refused(tmp_path, suffix, layers):
    stacked = np.stack([number == MAP for number in range(layers)], axis=-1).astype(np.uint8)
    with pytest.raises(InvalidInputError, match=rf"map\{suffix} has {layers} layers, as 3D Slicer saves"):
        load_labels(write(tmp_path, stacked, f"map{suffix}", vector=True))


def test_layers_of_3d_slicer_are_no_colours(tmp_path):
    """Three layers of bytes, which are called a list."""
    stacked = np.stack([number == MAP for number in range(3)], axis=-1).astype(np.uint8)
    path = write(tmp_path, stacked, "map.nrrd", vector=True)
    path.write_bytes(path.read_bytes().replace(b"kinds: vector domain", b"kinds: list domain"))
    with pytest.raises(InvalidInputError, match="has 3 layers"):
        load_labels(path)


def test_fractions_and_numbers_that_run_into_each_other(tmp_path):
    with pytest.raises(InvalidInputError, match="it holds fractions"):
        load_labels(write(tmp_path, (MAP / 2).astype(np.float32), "half.nrrd"))
    with pytest.raises(InvalidInputError, match="its values reach 100000008; from 16777216 on"):
        load_labels(write(tmp_path, (MAP + 100_000_000).astype(np.int32), "many.nrrd"))
    first = MAP.max() == MAP
    with pytest.raises(InvalidInputError, match="from 16777216 on"):  # as float32 both are this number
        load_labels(write(tmp_path, np.where(first, 1 << 24, (1 << 24) + 1).astype(np.int32), "two.nrrd"))
    assert load_labels(write(tmp_path, np.where(first, 1, (1 << 24) - 1).astype(np.int32), "most.nrrd")).array.any()


@pytest.mark.parametrize("tags", [{"LossyImageCompression": "01"}, {"LossyImageCompression": "00"}, {}])
@pytest.mark.parametrize("name", ["none", "JPEG2000"])
def test_labels_in_dicom_that_was_compressed_with_loss(tmp_path, tags, name):
    """JPEG 2000 may have changed them, unless the file says that it did not."""
    write_series(tmp_path, VOLUME % 5, RescaleIntercept=0, **tags)
    if name != "none":
        compress(tmp_path, name)
    said = tags.get("LossyImageCompression")
    syntax = pydicom.dcmread(tmp_path / "0.dcm").file_meta.TransferSyntaxUID
    if said == "01" or (said is None and syntax == pydicom.uid.JPEG2000):
        with pytest.raises(ReadError, match=r"saved with loss \(DICOM, compressed with loss\)"):
            load_labels(tmp_path)
    else:
        assert np.array_equal(load_labels(tmp_path).array[0], (VOLUME % 5).transpose(2, 1, 0))
    assert load_scan(tmp_path).array.max() == 4


@pytest.mark.parametrize(
    ("grid", "same"),
    [
        ({"origin": (0.35, 0.35, 2.5)}, True),
        ({"origin": (0.4, 0.0, 0.0)}, False),
        ({"origin": (0.0, 2.4, 0.0)}, False),
        ({"origin": (0.0, 0.0, 2.6)}, False),
        ({"spacing": (0.74, 0.7, 5.0)}, False),
    ],
)
@pytest.mark.parametrize("direction", [IDENTITY, (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)])
def test_a_label_map_lies_within_half_a_voxel_along_every_axis(grid, same, direction):
    scan = Scan(np.zeros((1, 20, 20, 10), np.float32), (0.7, 0.7, 5.0), direction=direction)
    labels = replace(scan, **grid)
    if same:
        check_same_place(labels, scan)
        return
    with pytest.raises(InvalidInputError, match="lies elsewhere than"):
        check_same_place(labels, scan)


PICTURE = np.arange(60, dtype=np.uint8).reshape(6, 10) % 5


@pytest.mark.parametrize(("name", "kind"), [("a.png", np.uint8), ("a.png", np.uint16), ("a.tif", np.uint16)])
def test_pictures_of_labels(tmp_path, name, kind):
    labels = PICTURE.astype(kind) * (100 if kind == np.uint16 else 1)
    PillowImage.fromarray(labels).save(tmp_path / name)
    assert np.array_equal(read_label_image(tmp_path / name), labels)


def test_places_in_a_palette_and_bits_are_labels(tmp_path):
    picture = PillowImage.fromarray(PICTURE).convert("P")
    picture.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
    picture.save(tmp_path / "palette.png")
    assert np.array_equal(read_label_image(tmp_path / "palette.png"), PICTURE)
    PillowImage.fromarray(PICTURE > 2).save(tmp_path / "bits.png")
    assert np.array_equal(read_label_image(tmp_path / "bits.png"), (PICTURE > 2).astype(np.uint8))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_levels_that_programs_spread_are_refused(tmp_path, bits):
    """Of 2 and 4 bits pillow makes 85 or 17 of a 1."""
    labels = np.arange(60).reshape(6, 10) % min(2**bits, 12)
    path = write_png(tmp_path / "a.png", labels, bits)
    if bits in (2, 4):
        with pytest.raises(InvalidInputError, match=f"grey levels of {bits} bits.*save it again with 8 bits"):
            read_label_image(path)
    else:
        assert np.array_equal(read_label_image(path), labels)


def test_a_label_picture_is_turned_as_its_image_is(tmp_path):
    picture = PillowImage.fromarray(PICTURE)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_label_image(tmp_path / "a.png"), np.rot90(PICTURE, -1))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("a.jpg", {}, r"saved with loss \(JPEG\)"),
        ("a.png", {"format": "JPEG"}, r"saved with loss \(JPEG\)"),
        ("a.tif", {"compression": "jpeg"}, "JPEG in a TIFF"),
    ],
)
def test_labels_saved_with_loss_are_refused(tmp_path, name, options, words):
    PillowImage.fromarray(PICTURE).save(tmp_path / name, **options)
    with pytest.raises(ReadError, match=f"{words}.*Export the labels again without: as PNG"):
        read_label_image(tmp_path / name)


def test_pictures_that_are_no_label_maps(tmp_path):
    PillowImage.fromarray(np.stack([PICTURE] * 3, -1)).save(tmp_path / "colour.png")
    with pytest.raises(ReadError, match="is in colour"):
        read_label_image(tmp_path / "colour.png")
    PillowImage.fromarray(PICTURE).save(tmp_path / "white.tif", tiffinfo={262: 0})
    with pytest.raises(InvalidInputError, match="white as zero"):
        read_label_image(tmp_path / "white.tif")
    pages = [PillowImage.fromarray(PICTURE + page) for page in range(2)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InvalidInputError, match="holds 2 images"):
        read_label_image(tmp_path / "pages.tif")
    PillowImage.fromarray(PICTURE.astype(np.float32) / 3).save(tmp_path / "half.tif")
    with pytest.raises(InvalidInputError, match="fractions"):
        read_label_image(tmp_path / "half.tif")
    (tmp_path / "noise.png").write_bytes(b"no picture")
    with pytest.raises(ReadError, match="no format that can be read"):
        read_label_image(tmp_path / "noise.png")
    with pytest.raises(ReadError, match="cannot be read"):
        read_label_image(tmp_path / "missing.png")
