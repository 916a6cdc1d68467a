"""The annotations of LIDC-IDRI: outlines to masks, readers to a consensus."""

import numpy as np
import pytest

from sg_hub.errors import ReadError
from tests.training.targets.readers.lidc_samples import PYLIDC, SAMPLES, SERIES, Z, digest, outlined
from tests.training.targets.target_folders import lidc_xml, nodule, roi, square
from training.targets.readers._lidc_xml import annotation_mask, consensus, outline_mask, read_xml, same_nodule


def test_the_outline_is_the_first_pixel_outside_the_nodule():
    points = np.array(square(10, 16))
    inside = outline_mask(points, (30, 30))
    expected = np.zeros((30, 30), dtype=bool)
    expected[11:16, 11:16] = True
    assert np.array_equal(inside, expected)
    with_edge = outline_mask(points, (30, 30), edge_is_nodule=True)
    expected[10:17, 10:17] = True
    assert np.array_equal(with_edge, expected)


def test_outlines_with_gaps_and_at_the_border_of_the_image():
    corners = np.array([(2, 2), (8, 2), (8, 8), (2, 8)])  # a few points only, not every pixel
    assert np.array_equal(outline_mask(corners, (20, 20)), outline_mask(np.array(square(2, 8)), (20, 20)))
    outside = np.array(square(-3, 4))
    assert outline_mask(outside, (20, 20)).sum() == 4 * 4
    assert outline_mask(np.array(square(40, 50)), (20, 20)).sum() == 0


def test_gaps_of_an_outline_cost_no_pixel_but_those_on_the_line():
    points = np.array([(2, 2), (6, 2), (8, 3), (9, 6), (5, 8), (2, 6)])
    mask = outline_mask(points, (20, 20))
    assert mask[7, 3]  # beside the line from (6, 2) to (8, 3), within the outline
    assert not mask[7, 2]
    assert not mask[4, 2]
    assert not mask[7, 7]  # on the line from (9, 6) to (5, 8)
    for shift in (1, 0), (0, 1), (3, 2):
        assert np.array_equal(outline_mask(points + shift, (20, 20)), np.roll(mask, shift, axis=(0, 1)))


def test_an_excluded_area_is_cut_out(tmp_path):
    rois = [*outlined(10, 20, (4,)), roi(Z[4], square(13, 17), "FALSE")]
    lidc_xml(tmp_path / "a.xml", SERIES, [[nodule("1", rois)]])
    annotation = read_xml(tmp_path / "a.xml").annotations[0]
    mask = annotation_mask(annotation, (30, 30, 12), {Z[4]: 4})
    assert mask[:, :, 4].sum() == 9 * 9 - 3 * 3
    assert mask.sum() == mask[:, :, 4].sum()


def test_small_nodules_marks_and_x_rays_are_told_apart(tmp_path):
    small = nodule("s", [roi(Z[1], [(5, 5)])], malignancy=None)
    lidc_xml(tmp_path / "a.xml", SERIES, [[nodule("1", outlined(10, 20), 4), small], [small]])
    reading = read_xml(tmp_path / "a.xml")
    assert reading.series == SERIES
    assert [(a.reader, a.nodule) for a in reading.annotations] == [(0, "1")]
    assert reading.small == 2
    (tmp_path / "cxr.xml").write_text("<IdriReadMessage><ResponseHeader/></IdriReadMessage>", encoding="utf-8")
    assert read_xml(tmp_path / "cxr.xml") is None


def test_readers_of_the_same_nodule_are_found(tmp_path):
    sessions = [
        [nodule("a", outlined(10, 20)), nodule("b", outlined(30, 36))],
        [nodule("c", outlined(11, 19))],
        [nodule("d", outlined(31, 35)), nodule("e", outlined(9, 20))],
    ]
    lidc_xml(tmp_path / "a.xml", SERIES, sessions)
    groups = same_nodule(read_xml(tmp_path / "a.xml").annotations, (0.7, 0.7), 2.5)
    assert sorted(sorted(a.nodule for a in group) for group in groups) == [["a", "c", "e"], ["b", "d"]]
    assert same_nodule((), (0.7, 0.7), 2.5) == []


def test_neighbouring_nodules_are_told_apart_by_a_lower_tolerance(tmp_path):
    # Two nodules 2.1 mm from each other, each outlined by four readers: more outlines than readers in one group.
    sessions = [[nodule(f"l{i}", outlined(10, 20)), nodule(f"r{i}", outlined(23, 30))] for i in range(4)]
    for text in sessions:
        text[1] = text[1].replace("<yCoord>2", "<yCoord>1").replace("<yCoord>30", "<yCoord>17")
    lidc_xml(tmp_path / "a.xml", SERIES, sessions)
    groups = same_nodule(read_xml(tmp_path / "a.xml").annotations, (0.7, 0.7), 2.5)
    assert sorted(len(group) for group in groups) == [4, 4]
    assert all(len({a.nodule[0] for a in group}) == 1 for group in groups)


@pytest.mark.parametrize(("scan", "excluded"), [("0079", {}), ("0326", {}), ("0658", {"1112": 7})])
def test_real_annotations_are_what_pylidc_makes_of_them(scan, excluded):
    expected = PYLIDC[f"LIDC-IDRI-{scan}"]
    reading = read_xml(SAMPLES / f"LIDC-IDRI-{scan}.xml")
    assert (reading.series, reading.small) == (expected["series"], 0)
    assert {a.nodule for a in reading.annotations} == {*expected["nodules"]}
    heights = sorted({outline.z for annotation in reading.annotations for outline in annotation.outlines})
    slice_of = {z: k for k, z in enumerate(heights)}
    masks = {}
    for annotation in reading.annotations:
        name, wanted = annotation.nodule, expected["nodules"][annotation.nodule]
        mask = annotation_mask(annotation, (512, 512, len(heights)), slice_of)
        assert mask.sum() == wanted["voxels"] + excluded.get(name, 0)
        for outline in annotation.outlines:  # pylidc leaves the outline of an excluded area out as well
            if not outline.included:
                mask[(*outline.points.T, slice_of[outline.z])] = False
        assert digest(mask) == wanted["sha256"]
        masks[name] = mask
    groups = same_nodule(reading.annotations, (expected["pixel"],) * 2, expected["distance"])
    names = [sorted(annotation.nodule for annotation in group) for group in groups]
    assert sorted(names) == sorted(group["nodules"] for group in expected["groups"])
    for group in expected["groups"]:
        together = consensus([masks[name] for name in group["nodules"]])
        assert (together.sum(), digest(together)) == (group["voxels"], group["sha256"])


def test_the_consensus_is_at_least_half_of_the_readers():
    one, two = np.array([1, 1, 0, 0], dtype=bool), np.array([0, 1, 1, 0], dtype=bool)
    assert consensus([one, two]).tolist() == [True, True, True, False]
    assert consensus([one, one, two]).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("text", "other", "words"),
    [
        ('encoding="UTF-8"', 'encoding="UTF-99"', "is truncated or damaged"),
        ("<xCoord>9</xCoord>", f"<xCoord>{'9' * 40}</xCoord>", "nodule '1' of reader 1 is damaged"),
        ("</LidcReadMessage>", "", "is truncated or damaged"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, text, other, words):
    path = tmp_path / "069.xml"
    lidc_xml(path, SERIES, [[nodule("1", outlined(9, 20))]])
    whole = path.read_text(encoding="utf-8")
    assert text in whole
    path.write_text(whole.replace(text, other), encoding="utf-8")
    with pytest.raises(ReadError, match=rf"069\.xml.*{words}"):
        read_xml(path)
