"""Reading of DICOM images: windows, tables, signs, paddings, and which end is white."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sg_hub import load_image
from sg_hub.io.formats.dicom.pixels import by_table
from tests.sg_hub.io.xray_files import ramp, shown, write_xray


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"BitsStored": 16},
        {"WindowCenter": 2000, "WindowWidth": 1500},
        {"WindowCenter": [900, 10], "WindowWidth": [800, 2]},
        {"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": "LINEAR_EXACT"},
        {"RescaleSlope": 2.0, "RescaleIntercept": -100.0},
        {"RescaleSlope": 2.0, "RescaleIntercept": -100.0, "WindowCenter": 3000, "WindowWidth": 2500},
    ],
    ids=str,
)
def test_xrays_are_as_another_implementation_shows_them(tmp_path, kind, tags):
    path = write_xray(tmp_path / "x.dcm", ramp(4095), PhotometricInterpretation=kind, **tags)
    image = load_image(path)
    np.testing.assert_allclose(image.array[0], shown(path), atol=2e-3)
    assert (image.array[0, -1, -1] < image.array[0, 0, 0]) == (kind == "MONOCHROME1")


@pytest.mark.parametrize(("kind", "right"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
@pytest.mark.parametrize("shape", ["INVERSE", "IDENTITY"])
def test_two_elements_that_say_opposite_things_of_white_are_warned_of(tmp_path, caplog, kind, right, shape):
    tags = {"PhotometricInterpretation": kind, "PresentationLUTShape": shape}
    path = write_xray(tmp_path / "x.dcm", ramp(4095), **tags)
    np.testing.assert_allclose(load_image(path).array[0], shown(path), atol=2e-3)  # not inverted twice
    assert (f"{kind} and PresentationLUTShape {shape} contradict" in caplog.text) == (shape != right)


def test_signed_values(tmp_path):
    pixels = ramp(4095).astype(np.int32) - 2048
    path = write_xray(tmp_path / "x.dcm", pixels, PixelRepresentation=1)
    np.testing.assert_allclose(load_image(path).array[0], (pixels + 2048) / 4095, atol=1e-6)


@pytest.mark.parametrize(("allocated", "stored", "signed"), [(16, 12, 1), (16, 12, 0), (32, 32, 0), (32, 32, 1)])
def test_white_is_zero_in_every_layout(tmp_path, allocated, stored, signed):
    pixels = ramp(4095).astype(np.int64) * 2 ** (stored - 12) - signed * 2 ** (stored - 1)
    layout = {"BitsAllocated": allocated, "BitsStored": stored, "PixelRepresentation": signed}
    path = write_xray(tmp_path / "x.dcm", pixels, PhotometricInterpretation="MONOCHROME1", **layout)
    np.testing.assert_allclose(load_image(path).array[0], 1 - ramp(4095) / 4096, atol=3e-4)
    path = write_xray(tmp_path / "x.dcm", pixels, **layout)
    np.testing.assert_allclose(load_image(path).array[0], ramp(4095) / 4096, atol=3e-4)


def test_signed_values_that_fill_their_bits_are_inverted(tmp_path):
    pixels = ramp(65535).astype(np.int32) - 32768
    layout = {"BitsStored": 16, "PixelRepresentation": 1, "PhotometricInterpretation": "MONOCHROME1"}
    path = write_xray(tmp_path / "x.dcm", pixels, **layout)
    np.testing.assert_allclose(load_image(path).array[0], 1 - ramp(65535) / 65535, atol=1e-6)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_lookup_tables_are_applied(tmp_path, syntax, kind):
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4096, 0, 12])
    table.add_new("LUTData", "OW", (ramp(4095, (1, 4096)) // 2)[:, ::-1].tobytes())

    def with_table(keyword, entries):
        path = write_xray(tmp_path / "x.dcm", ramp(4095), PhotometricInterpretation=kind, **{keyword: entries})
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = syntax
        data.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=True)
        array = load_image(path).array[0]
        return 1 - array if kind == "MONOCHROME1" else array

    for keyword in ("VOILUTSequence", "ModalityLUTSequence"):
        np.testing.assert_allclose(with_table(keyword, []), ramp(4095) / 4095, atol=1e-6)
        wanted = (4095 - ramp(4095)) // 2
        np.testing.assert_allclose(with_table(keyword, [table]), wanted / 4095, atol=1e-6)


def test_a_table_for_display_of_few_entries(tmp_path):
    """Its places reach beyond what its entries of 8 bits can hold."""
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [256, 1000, 8])
    table.add_new("LUTData", "US", list(range(256)))
    path = write_xray(tmp_path / "x.dcm", ramp(4095), VOILUTSequence=[table])
    wanted = (ramp(4095).astype(int) - 1000).clip(0, 255) / 255
    np.testing.assert_allclose(load_image(path).array[0], wanted, atol=1e-6)


def test_a_table_for_display_that_begins_below_zero(tmp_path):
    """Which files write as a number without a sign, for only the values behind the rescaling are negative."""
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [256, 65536 - 1000, 8])
    table.add_new("LUTData", "US", list(range(256)))
    rescaled = {"RescaleIntercept": -1024, "RescaleSlope": 1}
    path = write_xray(tmp_path / "x.dcm", ramp(4095), VOILUTSequence=[table], **rescaled)
    wanted = (ramp(4095).astype(int) - 1024 + 1000).clip(0, 255) / 255
    np.testing.assert_allclose(load_image(path).array[0], wanted, atol=1e-6)


def test_a_table_that_begins_above_all_values_without_a_sign_gives_its_first_entry():
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [256, 40000, 8])
    table.add_new("LUTData", "US", list(range(256)))
    assert by_table(np.array([0, 100, 39999], np.uint16), table, Dataset()).tolist() == [0, 0, 0]


def test_pixel_spacing_is_of_rows_and_columns(tmp_path):
    assert load_image(write_xray(tmp_path / "x.dcm", ramp(4095))).spacing is None
    path = write_xray(tmp_path / "x.dcm", ramp(4095), ImagerPixelSpacing=[0.15, 0.2])
    assert load_image(path).spacing == (0.15, 0.2)
    path = write_xray(tmp_path / "x", ramp(4095), ImagerPixelSpacing=[0.15, 0.2], PixelSpacing=[0.1, 0.3])
    assert load_image(path).spacing == (0.1, 0.3)


def test_a_window_that_misses_the_image_is_not_applied(tmp_path):
    path = write_xray(tmp_path / "x.dcm", ramp(4095), WindowCenter=-9000, WindowWidth=10)
    np.testing.assert_allclose(load_image(path).array[0], ramp(4095) / 4095, atol=1e-6)


def test_colour_in_dicom(tmp_path):
    grey = ramp(255, dtype=np.uint8)
    colour = np.stack([grey, grey.T.reshape(grey.shape), 255 - grey], -1)
    np.testing.assert_allclose(
        load_image(write_xray(tmp_path / "x.dcm", colour)).array, np.moveaxis(colour, -1, 0) / 255, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("padding", [{"PixelPaddingValue": 0}, {"PixelPaddingValue": 90, "PixelPaddingRangeLimit": 99}])
def test_what_fills_up_the_rows_is_black(tmp_path, kind, padding):
    pixels = np.random.default_rng(0).integers(100, 4000, (20, 16))
    pixels[:4] = list(padding.values())[-1]
    options = {"WindowCenter": 2000, "WindowWidth": 3000, "PhotometricInterpretation": kind}
    plain = load_image(write_xray(tmp_path / "plain.dcm", pixels, **options)).array
    for tag in padding:
        options[tag] = padding[tag]
    found = load_image(write_xray(tmp_path / "padded.dcm", pixels, **options)).array
    assert not found[0, :4].any()
    assert np.array_equal(found[0, 4:], plain[0, 4:])


def test_a_padding_of_signed_values_that_is_written_unsigned(tmp_path):
    pixels = np.random.default_rng(0).integers(-1900, 2000, (20, 16))
    pixels[:4] = -2000
    options = {"PixelRepresentation": 1, "PhotometricInterpretation": "MONOCHROME1"}
    path = write_xray(tmp_path / "image.dcm", pixels, **options)
    plain = load_image(path).array
    data = pydicom.dcmread(path)
    data.add_new("PixelPaddingValue", "US", 65536 - 2000)
    data.save_as(path)
    found = load_image(path).array
    assert plain[0, :4].all()
    assert not found[0, :4].any()
    assert np.array_equal(found[0, 4:], plain[0, 4:])
