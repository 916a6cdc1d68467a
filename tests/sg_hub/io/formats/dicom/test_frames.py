"""Files of many frames: sorted, checked and rescaled frame by frame, as single slices are."""

import numpy as np
import pytest

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.scan import load_scan
from tests.sg_hub.io.formats.dicom.dicom_files import VOLUME, base, enhanced, item, slice_of, write, write_series

PLACES = [0, 2, 4, 6, 8, 10]
ENHANCED = {"MR": "1.2.840.10008.5.1.4.1.1.4.1", "PT": "1.2.840.10008.5.1.4.1.1.130"}
HU = (VOLUME - 1024).transpose(2, 1, 0)


@pytest.mark.parametrize("order", [range(6), range(5, -1, -1), [0, 2, 1, 3, 5, 4]])
def test_frames_are_sorted_by_their_positions(tmp_path, order):
    order = list(order)
    path = write(tmp_path / "a.dcm", enhanced(VOLUME[order], [PLACES[k] for k in order]))
    scan = load_scan(path)
    assert np.array_equal(scan.array[0], HU)
    assert scan.spacing == pytest.approx((0.7, 0.8, 2))
    assert scan.origin == (-10, -20, 0)
    assert np.array_equal(load_scan(tmp_path).array, scan.array)


def test_every_frame_has_its_own_rescaling(tmp_path):
    slopes = [1, 2, 0.5, 4, 1e-8, 3]
    scan = load_scan(write(tmp_path / "a.dcm", enhanced(VOLUME, PLACES, slopes=slopes)))
    wanted = (VOLUME * np.array(slopes)[:, None, None]).transpose(2, 1, 0)
    np.testing.assert_allclose(scan.array[0], wanted, rtol=1e-6)


def test_several_files_of_a_series_are_one_volume(tmp_path):
    write(tmp_path / "2.dcm", enhanced(VOLUME[:3], PLACES[:3]))
    one = write(tmp_path / "1.dcm", enhanced(VOLUME[3:], PLACES[3:]))
    assert np.array_equal(load_scan(tmp_path).array[0], HU)
    assert np.array_equal(load_scan(one).array[0], HU[..., 3:])
    one.unlink()
    for number in (3, 4, 5):
        write(tmp_path / f"s{number}.dcm", slice_of(VOLUME[number], PLACES[number]))
    assert np.array_equal(load_scan(tmp_path).array[0], HU), "slices and frames together"


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (
            [0, 2, 4, 0, 2, 4],
            r"frame \d of a\.dcm and frame \d of a\.dcm are at the same position \(2 volumes of 3 slices",
        ),
        ([0, 0, 2, 2, 4, 4], r"same position \(2 volumes of 3 slices in one\).*phase, echo"),
        ([0, 0, 0, 0, 0, 0], r"same position \(6 volumes of 1 slices"),
        ([0, 2, 4, 4, 6, 8], "same position; expected one slice per place"),
        ([0, 2, 4, 8, 10, 12], r"1 missing slice\(s\) between frame 3 of a\.dcm and frame 4"),
        ([0, 2, 4, 6, 8, 10.6], "slices at unequal distances"),
    ],
)
def test_frames_that_make_no_volume(tmp_path, places, message):
    with pytest.raises(InvalidInputError, match=message):
        load_scan(write(tmp_path / "a.dcm", enhanced(VOLUME, places)))


def test_frames_of_several_orientations(tmp_path):
    turned = [[1, 0, 0, 0, 1, 0]] * 5 + [[1, 0, 0, 0, 0, -1]]
    with pytest.raises(InvalidInputError, match=r"frame 6 of a\.dcm differs from frame 1 of a\.dcm"):
        load_scan(write(tmp_path / "a.dcm", enhanced(VOLUME, PLACES, turned=turned)))


def test_more_or_fewer_descriptions_than_frames(tmp_path):
    data = enhanced(VOLUME, PLACES)
    del data.PerFrameFunctionalGroupsSequence[-1]
    with pytest.raises(ReadError, match="it holds 6 frames and describes 5: export"):
        load_scan(write(tmp_path / "a.dcm", data))
    data = enhanced(VOLUME, PLACES)
    data.PixelData = data.PixelData[:-50]
    with pytest.raises(ReadError, match=r"a\.dcm is truncated, damaged"):
        load_scan(write(tmp_path / "a.dcm", data))
    data = enhanced(VOLUME, PLACES)
    del data.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    with pytest.raises(InvalidInputError, match="holds 6 frames without a position in space"):
        load_scan(write(tmp_path / "a.dcm", data))


def test_frames_without_pixel_spacing(tmp_path):
    path = write(tmp_path / "a.dcm", enhanced(VOLUME, PLACES, spacing=None))
    with pytest.raises(InvalidInputError, match=r"does not say its spacing \(PixelSpacing\)"):
        load_scan(path)
    assert load_scan(path, spacing=(0.7, 0.8, 2)).spacing == (0.7, 0.8, 2)


@pytest.mark.parametrize("colour", [False, True])
def test_a_film_is_no_scan(tmp_path, colour):
    """Also where it has the place of its first frame, and a distance."""
    tags = {
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.5],
        "SpacingBetweenSlices": 1,
        "NumberOfFrames": 6,
        "FrameTime": 33,
    }
    if colour:
        tags |= {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    path = write(tmp_path / "a.dcm", base(VOLUME, "ULTRASOUND FILM", tags))
    for given in (path, tmp_path):
        with pytest.raises(InvalidInputError, match="colour images" if colour else "a film, such as an ultrasound"):
            load_scan(given)


def test_a_dose_is_scaled_and_placed_by_its_offsets(tmp_path):
    tags = {
        "ImagePositionPatient": [5, 6, 7],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [2, 3],
        "NumberOfFrames": 6,
        "DoseGridScaling": 0.001,
        "GridFrameOffsetVector": [0, 4, 8, 12, 16, 20],
    }
    scan = load_scan(write(tmp_path / "a.dcm", base(VOLUME, "DOSE", tags)))
    np.testing.assert_allclose(scan.array[0], VOLUME.transpose(2, 1, 0) * 0.001, rtol=1e-6)
    assert scan.spacing == (3, 2, 4)
    assert scan.origin == (5, 6, 7)
    tags["GridFrameOffsetVector"] = [7, 11, 15, 19, 23, 27]  # places along z, as some write them
    assert load_scan(write(tmp_path / "a.dcm", base(VOLUME, "DOSE", tags))).origin == (5, 6, 7)
    for elsewhere in (
        {"GridFrameOffsetVector": [5, 9, 13, 17, 21, 25]},
        {"ImageOrientationPatient": [1, 0, 0, 0, -1, 0]},
    ):
        with pytest.raises(InvalidInputError, match="the first plane of a dose is at 7 mm along z"):
            load_scan(write(tmp_path / "a.dcm", base(VOLUME, "DOSE", tags | elsewhere)))
    tags["GridFrameOffsetVector"] = [0, 4]
    with pytest.raises(InvalidInputError, match="GridFrameOffsetVector"):
        load_scan(write(tmp_path / "a.dcm", base(VOLUME, "DOSE", tags)))


def test_a_segmentation_is_refused(tmp_path):
    path = write(tmp_path / "a.dcm", base(VOLUME, "SEGMENTATION", {"NumberOfFrames": 6}))
    with pytest.raises(InvalidInputError, match=r"DICOM segmentation.*convert it to a label map"):
        load_scan(path)


@pytest.mark.parametrize("tags", [{"RescaleSlope": None}, {"RescaleIntercept": None}, {"RescaleSlope": 0}])
def test_half_of_a_rescaling_is_an_error(tmp_path, tags):
    for number in range(3):
        write(tmp_path / f"{number}.dcm", slice_of(VOLUME[number], 2.0 * number, **tags))
    with pytest.raises(InvalidInputError, match=r"0\.dcm: RescaleSlope is"):
        load_scan(tmp_path)


NO_RESCALING = {"RescaleSlope": None, "RescaleIntercept": None}


@pytest.mark.parametrize(("kind", "called"), [("CT", "CT"), ("PT", "PET")])
def test_a_rescaling_that_is_not_there_is_asked_for(tmp_path, kind, called):
    write_series(tmp_path, kind=kind, **NO_RESCALING)
    with pytest.raises(InvalidInputError, match=rf"is {called} and does not say .*rescale=\(slope, intercept\)"):
        load_scan(tmp_path)
    values = VOLUME.transpose(2, 1, 0).astype(np.float32)
    assert np.array_equal(load_scan(tmp_path, rescale=(2, -1024)).array[0], 2 * values - 1024)
    assert np.array_equal(load_scan(tmp_path, labels=True).array[0], values), "numbers of classes have no unit"
    for wrong in ((0, 1), (1,), "ab", "12", (float("nan"), 0)):
        with pytest.raises(InvalidInputError, match="expected a slope other than 0 and an intercept"):
            load_scan(tmp_path, rescale=wrong)


def test_magnetic_resonance_needs_no_rescaling(tmp_path):
    write_series(tmp_path, kind="MR", **NO_RESCALING)
    assert np.array_equal(load_scan(tmp_path).array[0], VOLUME.transpose(2, 1, 0))


def test_a_rescaling_beside_that_of_the_file_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"rescale=\(1, 0\) was given.*leave it out"):
        load_scan(write_series(tmp_path), rescale=(1, 0))


def test_a_rescaling_that_some_slices_lack(tmp_path):
    write_series(tmp_path)
    write(tmp_path / "3.dcm", slice_of(VOLUME[3], 6.0, **NO_RESCALING))
    with pytest.raises(InvalidInputError, match=r"3\.dcm has no RescaleSlope and RescaleIntercept, and other slices"):
        load_scan(tmp_path, rescale=(1, 0))


def test_magnetic_resonance_of_which_some_slices_are_rescaled(tmp_path):
    write_series(tmp_path, kind="MR", **NO_RESCALING)
    write(tmp_path / "3.dcm", slice_of(VOLUME[3], 6.0, kind="MR", RescaleSlope=1, RescaleIntercept=0))
    assert np.array_equal(load_scan(tmp_path).array[0], VOLUME.transpose(2, 1, 0))
    write(tmp_path / "3.dcm", slice_of(VOLUME[3], 6.0, kind="MR", RescaleSlope=2, RescaleIntercept=0))
    with pytest.raises(InvalidInputError, match=r"0\.dcm has no RescaleSlope and RescaleIntercept, and other slices"):
        load_scan(tmp_path)


def test_enhanced_files_without_a_rescaling(tmp_path):
    data = enhanced(VOLUME, [2.0 * k for k in range(6)])
    del data.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    path = write(tmp_path / "a.dcm", data)
    with pytest.raises(InvalidInputError, match="is CT and does not say"):
        load_scan(path)
    assert load_scan(path, rescale=(1, 0)).array.max() == VOLUME.max()


def test_a_table_of_the_modality(tmp_path):
    table = item(LUTDescriptor=[2000, 0, 16], ModalityLUTType="HU")
    table[0].add_new("LUTData", "US", (np.arange(2000) * 3).tolist())
    for number in range(3):
        data = slice_of(VOLUME[number], 2.0 * number, RescaleSlope=None, RescaleIntercept=None)
        data.ModalityLUTSequence = table
        write(tmp_path / f"{number}.dcm", data)
    assert np.array_equal(load_scan(tmp_path).array[0], VOLUME[:3].transpose(2, 1, 0) * 3)


def of_parts(folder, parts, total=2):
    """One volume in several files (a concatenation), of which some are written."""
    for number, (start, stop) in enumerate([(0, 2), (2, 6)], 1):
        if number in parts:
            said = {"ConcatenationUID": "1.2.3", "InConcatenationNumber": number, "InConcatenationTotalNumber": total}
            write(folder / f"{number}.dcm", enhanced(VOLUME[start:stop], PLACES[start:stop], **said))
    return folder


def test_a_part_of_a_volume_is_read_with_the_other_parts(tmp_path):
    of_parts(tmp_path, (1, 2))
    for given in (tmp_path, tmp_path / "1.dcm", tmp_path / "2.dcm"):
        assert np.array_equal(load_scan(given).array[0], HU)


@pytest.mark.parametrize(("parts", "total", "missing"), [((1,), 2, 2), ((2,), None, 1)])
def test_a_volume_of_which_a_part_is_missing(tmp_path, parts, total, missing):
    of_parts(tmp_path, parts, total)
    for given in (tmp_path, tmp_path / f"{parts[0]}.dcm"):
        with pytest.raises(ReadError, match=rf"part {missing} of 2 of a volume in several files .* is missing"):
            load_scan(given)


@pytest.mark.parametrize(
    ("group", "said"),
    [
        (lambda k: {"FrameContentSequence": item(TemporalPositionIndex=1 + k % 2)}, r"another time \(2\)"),
        (lambda k: {"MREchoSequence": item(EffectiveEchoTime=10.0 + k % 2)}, r"another echo \(11\)"),
        (lambda k: {"CTReconstructionSequence": item(ConvolutionKernel=f"K{k % 2}")}, "another reconstruction kernel"),
        (
            lambda k: {
                "PixelValueTransformationSequence": item(
                    RescaleSlope=1, RescaleIntercept=0, RescaleType=["HU", "US"][k % 2]
                )
            },
            "another unit of the values",
        ),
    ],
)
def test_frames_of_two_volumes_that_alternate_in_space(tmp_path, group, said):
    data = enhanced(VOLUME, PLACES)
    for number, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        for sequence, items in group(number).items():
            setattr(frame, sequence, items)
    with pytest.raises(InvalidInputError, match=f"frame 2 of a.dcm is of {said}.*expected one volume"):
        load_scan(write(tmp_path / "a.dcm", data))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("MR", [{"EchoNumbers": 1}, {"EchoNumbers": 2}]),
        ("MR", [{"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}]),
        ("CT", [{"ConvolutionKernel": "B30f"}, {"ConvolutionKernel": "B70f"}]),
        ("PT", [{"Units": "BQML"}, {"Units": "CNTS"}]),
    ],
)
def test_slices_of_two_volumes_that_alternate_in_space(tmp_path, kind, said):
    for number, pixels in enumerate(VOLUME):
        write(tmp_path / f"{number}.dcm", slice_of(pixels, 2.0 * number, kind=kind, **said[number % 2]))
    with pytest.raises(InvalidInputError, match=r"1\.dcm is of another .* than 0\.dcm"):
        load_scan(tmp_path)


def test_distances_that_drift(tmp_path):
    places = np.cumsum([0] + [2.0] * 10 + [2.15] * 10)
    for number, place in enumerate(places):
        write(tmp_path / "drift" / f"{number:02}.dcm", slice_of(VOLUME[number % 6], float(place)))
        write(tmp_path / "even" / f"{number:02}.dcm", slice_of(VOLUME[number % 6], round(2.075 * number, 1)))
    with pytest.raises(InvalidInputError, match=r"unequal distances, 2 to 2\.15 mm.*0\.75 mm from where they are"):
        load_scan(tmp_path / "drift")
    assert load_scan(tmp_path / "even").spacing[2] == pytest.approx(2.075, abs=0.003)


@pytest.mark.parametrize("kind", ["MR", "PT"])
def test_real_world_values_of_each_frame_where_there_is_no_rescaling(tmp_path, kind):
    data = enhanced(VOLUME, PLACES, Modality=kind, SOPClassUID=ENHANCED[kind])
    del data.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    for number, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        frame.RealWorldValueMappingSequence = item(RealWorldValueSlope=1.0 + number, RealWorldValueIntercept=-3.0)
    found = load_scan(write(tmp_path / "a.dcm", data)).array[0]
    assert np.allclose(found, VOLUME.transpose(2, 1, 0) * np.arange(1, 7) - 3)


def test_the_rescaling_goes_before_real_world_values(tmp_path):
    mapping = item(RealWorldValueSlope=5.0, RealWorldValueIntercept=0.0)
    write_series(tmp_path, RealWorldValueMappingSequence=mapping)
    assert np.array_equal(load_scan(tmp_path).array[0], HU)


def test_tomography_in_another_unit_than_hounsfields_is_said(tmp_path, caplog):
    assert np.array_equal(load_scan(write_series(tmp_path / "hu", RescaleType="HU")).array[0], HU)
    assert not caplog.text
    assert np.array_equal(load_scan(write_series(tmp_path / "us", RescaleType="US")).array[0], HU)
    assert "is CT with values in US (RescaleType), not in HU" in caplog.text
