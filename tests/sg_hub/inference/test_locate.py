import dataclasses

import numpy as np
import pytest
import torch

import sg_hub.inference.locate as module
from sg_hub import InvalidInputError, Scan, locate
from tests.sg_hub.inference.networks import Identity, Textures, make_2d, make_image, make_model, make_scan


@pytest.fixture(scope="module")
def whole():
    """A scan of blobs, of which the others are parts."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(1, 1, 32, 28, 24, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (64, 56, 48), mode="trilinear")[0]
    return Scan((fine * 2000 - 1000).numpy(), spacing=(2.0, 2.0, 3.0), origin=(10.0, -20.0, 5.0))


def part(scan, corner, size, **changes):
    box = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
    origin = tuple(float(v) for v in scan.to_mm(np.array([corner]))[0])
    return dataclasses.replace(scan, array=scan.array[(slice(None), *box)].copy(), **{"origin": origin} | changes)


def test_places_of_a_shifted_scan_are_found_in_mm(whole):
    model = Textures()
    one, other = part(whole, (0, 0, 0), (56, 48, 40)), part(whole, (8, 8, 8), (56, 48, 40))
    points = one.to_mm(np.array([[20.0, 24.0, 16.0], [40.0, 30.0, 24.0], [30.0, 16.0, 32.0]]))
    places, score = locate(model, one, points, other, progress=False)
    assert places.shape == (3, 3)
    assert (places.dtype, score.dtype, score.shape) == (np.float64, np.float32, (3,))
    assert np.abs(places - points).max() < 3  # both lie in one space, and a voxel is 2 x 2 x 3 mm
    assert (score > 0.7).all()


def test_oblique_scans_and_other_origins_keep_their_own_mm(whole):
    model = Textures()
    turned = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    other = part(whole, (0, 0, 0), (64, 56, 48), origin=(500.0, 0.0, -70.0), direction=tuple(turned.ravel()))
    voxels = np.array([[20.0, 24.0, 16.0], [40.0, 30.0, 24.0]])
    places, _ = locate(model, whole, whole.to_mm(voxels), other, progress=False)
    assert np.abs(other.to_voxels(places) - voxels).max() < 1
    assert np.allclose(other.to_voxels(other.to_mm(voxels)), voxels)


def test_what_is_not_in_the_other_scan_is_nan_unless_it_is_asked_for(whole):
    model, other = Textures(), make_scan((40, 40, 40), (2.0, 2.0, 3.0), seed=9, smooth=True)
    points = whole.to_mm(np.array([[20.0, 24.0, 16.0], [40.0, 30.0, 24.0], [30.0, 16.0, 32.0], [10.0, 40.0, 30.0]]))
    places, score = locate(model, whole, points, other, progress=False)
    assert np.isnan(places[score < module.FOUND]).all()
    assert (score < module.FOUND).any()
    everything, same = locate(model, whole, points, other, least=0, progress=False)
    assert np.isfinite(everything).all()
    assert np.array_equal(same, score)


def test_the_map_of_similarity_lies_on_the_other_scan(whole):
    model, other = Textures(), part(whole, (0, 0, 0), (50, 41, 40))
    voxels = np.array([[20.0, 24.0, 16.0], [40.0, 30.0, 24.0]])
    places, _, similarity = locate(model, whole, whole.to_mm(voxels), other, similarity=True, progress=False)
    assert similarity.shape == (2, 50, 41, 40)
    assert (similarity.dtype, similarity.min() >= -1, similarity.max() <= 1) == (np.float32, True, True)
    for number, place in enumerate(other.to_voxels(places)):
        highest = np.array(np.unravel_index(similarity[number].argmax(), similarity.shape[1:]))
        assert np.abs(highest - place).max() <= 2


def test_several_templates_vote(whole):
    model = Textures()
    noise = np.random.default_rng(0)
    voxels = np.array([[20.0, 24.0, 16.0], [40.0, 30.0, 24.0]])
    templates = [
        dataclasses.replace(whole, array=(whole.array + noise.normal(0, 150, whole.array.shape)).astype(np.float32))
        for _ in range(3)
    ]
    places, score = locate(model, templates, [whole.to_mm(voxels)] * 3, whole, progress=False)
    assert np.abs(whole.to_voxels(places) - voxels).max() < 2
    assert (score > module.FOUND).all()


@pytest.mark.parametrize("settings", [{"part": "encoder"}, {"levels": [0, 2]}])
def test_other_levels_find_it_too(whole, settings):
    voxels = np.array([[20.0, 24.0, 16.0]])
    places, _ = locate(make_model(norm="instance"), whole, whole.to_mm(voxels), whole, progress=False, **settings)
    assert np.abs(whole.to_voxels(places) - voxels).max() < 2


def test_a_large_scan_is_searched_on_coarse_cells_first_and_found_as_well(whole, monkeypatch):
    voxels = np.array([[21.0, 25.0, 17.0], [42.0, 30.0, 23.0]])
    sizes = []
    monkeypatch.setattr(module, "_BUDGET", 32 * whole.array.size)
    monkeypatch.setattr(module.Describer, "whole", lambda self, scan, whole=module.Describer.whole: (
        sizes.append(whole(self, scan)), sizes[-1])[1])  # fmt: skip
    places, _ = locate(Textures(), whole, whole.to_mm(voxels), whole, progress=False)
    assert sizes[0].maps.strides[0] == (2, 2, 2)
    assert sum(level.numel() for one in sizes for level in one.maps.levels) <= 32 * whole.array.size
    assert np.abs(whole.to_voxels(places) - voxels).max() < 1


@pytest.mark.parametrize("levels", [[3], [2], [2, 3]])
def test_coarse_cells_lose_nothing_where_only_deep_levels_are_compared(whole, monkeypatch, levels):
    """Their cells are larger than those of the search: there is nothing to look at more closely."""
    model, voxels = make_model(norm="instance"), np.array([[21.0, 25.0, 17.0], [42.0, 30.0, 23.0]])
    points, settings = whole.to_mm(voxels), {"part": "encoder", "levels": levels, "least": 0, "progress": False}
    sizes = []
    monkeypatch.setattr(module.Describer, "whole", lambda self, scan, whole=module.Describer.whole: (
        sizes.append(self.finest), whole(self, scan))[1])  # fmt: skip
    found, score = locate(model, whole, points, whole, **settings)
    monkeypatch.setattr(module, "_BUDGET", 6 * whole.array.size)
    again, same = locate(model, whole, points, whole, **settings)
    assert (sizes[0], sizes[-1]) == (1, 2)
    assert np.array_equal(again, found)
    assert np.array_equal(same, score)


def test_a_family_without_a_decoder_will_do(whole):
    model = make_model(head="classification", norm="instance")
    voxels = np.array([[20.0, 24.0, 16.0]])
    places, _ = locate(model, whole, whole.to_mm(voxels), whole, progress=False)
    assert np.abs(whole.to_voxels(places) - voxels).max() < 2
    with pytest.raises(InvalidInputError, match=r"head='classification' has none; leave it out"):
        locate(model, whole, whole.to_mm(voxels), whole, part="decoder")


POINT = [(40.0, 20.0, 50.0)]


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([(1.0, 2.0)], r"shape \(1, 2\): expected \(n, 3\)"),
        ([40.0, 20.0, 50.0], r"shape \(3,\): expected \(n, 3\)"),
        ("here", r"points of str: expected \(n, 3\)"),
        ([(40.0, 20.0, 50.0), (40.0, float("nan"), 50.0)], r"point 2 at \(40, nan, 50\) is no place: .*leave out"),
        (
            [(40.0, 20.0, 50.0), (40.0, 900.0, 50.0)],
            r"point 2 at \(40, 900, 50\) mm lies outside.*y -20\.0 to 90\.0.*RA",
        ),
    ],
)
def test_points_that_cannot_be_are_refused(whole, points, words):
    with pytest.raises(InvalidInputError, match=words):
        locate(make_model(), whole, points, whole)


def test_no_points_are_in_no_places(whole):
    found = locate(make_model(), whole, np.empty((0, 3)), whole, similarity=True, progress=False)
    assert [(each.shape, each.dtype) for each in found] == [
        ((0, 3), np.float64),
        ((0,), np.float32),
        ((0, *whole.size), np.float32),
    ]
    assert len(locate(make_model(), [whole] * 2, [np.empty((0, 3))] * 2, whole, progress=False)) == 2


def test_what_does_not_go_together_is_refused(whole):
    model = make_model()
    with pytest.raises(InvalidInputError, match=r"2 scans with 1 sets of points"):
        locate(model, [whole, whole], [POINT], whole)
    with pytest.raises(InvalidInputError, match=r"scans with 1, 2 points"):
        locate(model, [whole, whole], [POINT, POINT * 2], whole)
    with pytest.raises(InvalidInputError, match=r"other is a ndarray: expected a Scan"):
        locate(model, whole, POINT, whole.array)
    with pytest.raises(InvalidInputError, match=r"scan is a Image: expected a Scan"):
        locate(make_2d(), make_image(), POINT, whole)
    with pytest.raises(InvalidInputError, match=r"Identity has no encoder"):
        locate(Identity(), whole, POINT, whole)
    with pytest.raises(InvalidInputError, match=r"levels=\[4\]: the encoder has the levels 0 \(finest\) to 3"):
        locate(model, whole, POINT, whole, part="encoder", levels=[4])
    for levels in (3, [0.0], [True], [0, 0], [], "0"):
        with pytest.raises(
            InvalidInputError, match=r"levels=.*: the decoder has the levels 0 \(finest\) to 3; name some"
        ):
            locate(model, whole, POINT, whole, levels=levels)
    for least in (None, "much", True, -0.1, float("nan")):
        with pytest.raises(InvalidInputError, match=r"least=.*: expected a score from 0 to 1"):
            locate(model, whole, POINT, whole, least=least)
    with pytest.raises(InvalidInputError, match=r"kept=0: expected a number of scans"):
        module.Locator(model, kept=0)
    magnetic = dataclasses.replace(whole, modality="MR")
    with pytest.raises(InvalidInputError, match=r"is MR by its file.*cannot be compared"):
        locate(model, whole, POINT, magnetic)


def test_a_locator_describes_a_scan_once_and_keeps_the_last_ones(whole, monkeypatch):
    described = []
    make = module.Describer.whole
    monkeypatch.setattr(module.Describer, "whole", lambda self, scan: described.append(scan.source) or make(self, scan))
    one = dataclasses.replace(whole, source="one")
    others = [part(whole, (4 * n, 0, 0), (50, 48, 40), source=f"other {n}") for n in range(3)]
    locator = module.Locator(Textures(), progress=False)
    points = one.to_mm(np.array([[30.0, 24.0, 16.0]]))
    for other in [others[0], others[0], others[1], others[2], others[0]]:
        places, score = locator(one, points, other, least=0)
        expected = locate(Textures(), one, points, other, least=0, progress=False)
        assert np.array_equal(places, expected[0])
        assert np.array_equal(score, expected[1])
        del described[-2:]  # of `locate`
    assert described == ["one", "other 0", "other 1", "other 2", "other 0"]


def test_a_locator_describes_scans_anew_after_the_weights_changed(whole):
    model = make_model()
    locator = module.Locator(model, progress=False)
    before = locator(whole, POINT, whole, similarity=True)[2]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    after = locator(whole, POINT, whole, similarity=True)[2]
    assert not np.array_equal(after, before)
    assert np.array_equal(after, locate(model, whole, POINT, whole, similarity=True, progress=False)[2])
