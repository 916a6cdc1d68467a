import numpy as np

from tests.training.worth.known import data_of, labelled, maps_of, texture
from training.worth.landmarks import by_features, by_position


def test_organs_are_found_where_the_same_features_are():
    moved = (3, -2, 2)
    data = data_of([labelled((4, 8, 4)), labelled((7, 6, 6))])
    one = texture()
    maps = dict(zip(data.arrays, (maps_of(one), maps_of(one.roll(moved, (1, 2, 3)))), strict=True))
    pairs = by_features(data, data.parts["test"], maps, ["encoder 0"], "", progress=False)
    assert pairs.patients == ("patient0", "patient1")
    assert np.isnan(pairs.errors[[0, 1], [0, 1]]).all()
    assert pairs.errors[[0, 1], [1, 0]].max() < 1.5  # mm; centres lie between cells
    far = np.linalg.norm(np.multiply(moved, data.voxel))
    np.testing.assert_allclose(by_position(data, data.parts["test"]).errors[[0, 1], [1, 0]], far, rtol=1e-5)
