import pytest
import torch

from sg_hub.inference.feature_maps import FeatureMaps
from sg_hub.inference.matching import Mapped, match

SIZE = (24, 22, 20)


def scan_of(vectors):
    """Of vectors (channels, X, Y, Z), a cell of which is a voxel of 4 mm."""
    return Mapped(FeatureMaps(("a",), (vectors.half(),), ((1, 1, 1),), SIZE).normalised(), (4.0, 4.0, 4.0))


@pytest.fixture
def vectors():
    return torch.nn.functional.normalize(torch.randn(16, *SIZE, generator=torch.Generator().manual_seed(0)), dim=0)


def with_a_double(vectors, place, double):
    """The same scan, in which another place looks exactly like one, which itself has changed a little."""
    changed = vectors.clone()
    changed[:, *double] = vectors[:, *place]
    changed[:, *place] += 0.5 * vectors[:, 0, 0, 0]
    return scan_of(changed)


@pytest.mark.parametrize("place", [(12, 11, 10), (1, 20, 2)])
def test_of_places_that_look_alike_the_one_with_the_same_surroundings_is_taken(vectors, place):
    """Also near a border, where some of the surroundings are outside."""
    template, other = scan_of(vectors), with_a_double(vectors, place, (18, 5, 15))
    points = [torch.tensor([place], dtype=torch.float32)]
    assert (match([template], points, other).places[0] - points[0][0]).abs().max() < 0.6
    alone = match([template], points, other, surroundings=False).places[0]
    assert (alone - torch.tensor([18.0, 5.0, 15.0])).abs().max() < 0.6


def test_surroundings_are_so_many_mm_away_whatever_the_voxels_of_the_template_measure(vectors):
    place = torch.tensor([12, 11, 10])
    other = with_a_double(vectors, tuple(place.tolist()), (18, 5, 15))
    fine = torch.nn.functional.interpolate(vectors[None], scale_factor=2, mode="nearest")[0].half()
    size = tuple(2 * side for side in SIZE)
    template = Mapped(FeatureMaps(("a",), (fine,), ((1, 1, 1),), size).normalised(), (2.0, 2.0, 2.0))
    found = match([template], [(place * 2 + 0.5)[None]], other)
    assert (found.places[0] - place).abs().max() < 0.6


def test_several_points_and_templates_are_looked_for_as_one_by_one(vectors):
    template, other = scan_of(vectors), with_a_double(vectors, (12, 11, 10), (18, 5, 15))
    points = torch.tensor([[12.0, 11.0, 10.0], [3.3, 4.2, 5.1], [20.0, 20.0, 18.0]])
    together = match([template, template], [points, points], other)
    alone = [match([template], [point[None]], other) for point in points]
    assert torch.allclose(together.places, torch.cat([one.places for one in alone]), atol=1e-4)
    assert torch.allclose(together.score, torch.cat([one.score for one in alone]), atol=1e-4)


def test_places_stay_within_the_scan(vectors):
    template = scan_of(vectors)
    corners = torch.tensor([[-0.5, -0.5, -0.5], [23.5, 21.5, 19.5]])
    found = match([template], [corners], scan_of(vectors.flip(1))).places
    assert (found >= -0.5).all()
    assert (found <= torch.tensor(SIZE) - 0.5).all()


def test_a_scan_thinner_than_a_cell_is_searched_along_its_other_axes():
    generator = torch.Generator().manual_seed(0)
    level = torch.nn.functional.normalize(torch.randn(16, 8, 8, 1, generator=generator), dim=0).half()
    thin = Mapped(FeatureMaps(("a",), (level,), ((8, 8, 8),), (64, 64, 3)), (1.0, 1.0, 1.0))
    points = torch.tensor([[27.5, 35.5, 1.0]])
    found = match([thin], [points], thin)
    assert (found.places - points).abs()[0, :2].max() < 1
    assert found.back[0] < 5


def test_a_place_on_the_border_of_a_thin_template_counts_itself(vectors):
    """Rounding puts it out of the scan, and all of its surroundings are."""
    size = (3, 3, 3)
    template = Mapped(FeatureMaps(("a",), (vectors[:, :3, :3, :3].half(),), ((1, 1, 1),), size), (4.0, 4.0, 4.0))
    found = match([template], [torch.tensor([[-0.5005, 1.0, 1.0]])], scan_of(vectors))
    assert torch.isfinite(found.places).all()
    assert (found.places[0] - torch.tensor([0.0, 1.0, 1.0])).abs().max() < 1.1
