"""Items as arrays: read once and kept."""

import pytest
import torch

from tests.training.targets.target_folders import lidc_patches, target_at
from training.trials.item_arrays import ItemArrays

SMALL = ("grid.size=[16, 16, 8]", "settings.batch_size=4")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lidc")
    lidc_patches(folder)
    return folder


def test_samples_are_read_once_and_kept(root, tmp_path, monkeypatch):
    target = target_at("lidc-nodules", root, *SMALL)
    items = target.split_items().items
    first = ItemArrays(target, tmp_path)
    first.prepare(items, progress=False)
    monkeypatch.setattr(type(target), "load", lambda *_: pytest.fail("read twice"))
    for memory in (0, 64):
        again = ItemArrays(target, tmp_path, memory)
        for item in items:
            image, label = again[item]
            assert image.dtype == torch.float16
            assert image.shape == (1, 16, 16, 8)
            assert label.dtype == torch.uint8
            assert torch.equal(image, first[item][0])
    changed = ItemArrays(target_at("lidc-nodules", root, "grid.size=[8, 16, 8]"), tmp_path)
    with pytest.raises(pytest.fail.Exception):
        changed[items[0]]
