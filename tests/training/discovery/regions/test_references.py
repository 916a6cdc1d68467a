"""Which patients are references, and what their regions are."""

import numpy as np
import pytest
import torch

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.conftest import small_images
from tests.training.discovery.regions.conftest import SPACING, WHOLE, regions_recipe
from training.data.prepare import open_store, prepare
from training.discovery.regions.references import References, in_mm, smoothed


def test_the_largest_train_scans_are_references_and_regions_lie_in_them(store, bodies, tmp_path):
    found = References.found(store, regions_recipe(bodies, "regions.references=2"))
    assert found.names == ("p0", "p1"), "of scans of one size the first"
    np.testing.assert_allclose(found.extents[0], np.array(WHOLE) * SPACING)
    assert found.middles.shape == (2, 50, 4)
    assert (found.middles[0, :, :3] > 0).all()
    assert (found.middles[0, :, :3] < found.extents[0]).all()
    apart = np.linalg.norm(found.middles[0, :, None] - found.middles[0], axis=-1)
    assert apart[~np.eye(50, dtype=bool)].min() > 5, "mm"
    assert 0 < found.middles[..., 3].min() < found.middles[..., 3].max() <= 0.05 * 1500
    again = References.found(store, regions_recipe(bodies, "regions.references=2"))
    np.testing.assert_array_equal(found.middles, again.middles)
    found.save(tmp_path / "references.npz")
    read = References.load(tmp_path / "references.npz")
    assert (read.names, read.scale) == (found.names, found.scale)
    np.testing.assert_array_equal(read.middles, found.middles)
    with pytest.raises(ReadError):
        References.load(tmp_path / "another.npz")


def test_intensities_count_in_mm():
    scale = (0.35, 0.75, 100.0)  # -300 to 500 HU of -1000 to 1000, 0.05 mm per HU
    torch.testing.assert_close(in_mm(torch.tensor([0.0, 0.35, 0.5, 1.0]), scale), torch.tensor([35.0, 35, 50, 75]))
    cube = torch.zeros(1, 1, 5, 5, 5)
    cube[0, 0, 2, 2, 2] = 1
    assert smoothed(cube)[0, 2, 2, 2] == pytest.approx(0.5 + 0.5 / 27)
    assert smoothed(cube)[0, 1, 2, 2] == pytest.approx(0.5 / 27)


def test_too_few_patients_and_too_little_tissue_are_said(store, bodies):
    with pytest.raises(InvalidInputError, match="at least one more, and the store has 3: set it lower"):
        References.found(store, regions_recipe(bodies, "regions.references=3"))
    with pytest.raises(InvalidInputError, match=r"the reference p0 has [0-9]+ voxels of tissue; set it lower"):
        References.found(store, regions_recipe(bodies, "regions.regions=5000", "regions.tissue_hu=400"))
    with pytest.raises(InvalidInputError, match="expected the lower end first"):
        regions_recipe(bodies, "regions.intensity=[500, -300]")


def test_images_have_none(tmp_path):
    recipe = small_images(tmp_path / "run")
    prepare(recipe, progress=False)
    with pytest.raises(InvalidInputError, match="regions are found in 3D scans"):
        References.found(open_store(recipe), recipe)
