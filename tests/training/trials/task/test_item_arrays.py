"""Items as arrays: read once and kept."""

import pytest
import torch

from tests.training.targets.target_folders import target_at
from training.trials.task.item_arrays import ItemArrays

SMALL = ("grid.size=[16, 16, 8]", "settings.batch_size=4")


def test_samples_are_read_once_and_kept(patches, tmp_path, monkeypatch):
    target = target_at("lidc-nodules", patches, *SMALL)
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
    changed = ItemArrays(target_at("lidc-nodules", patches, "grid.size=[8, 16, 8]"), tmp_path)
    with pytest.raises(pytest.fail.Exception):
        changed[items[0]]


def cut(raw):
    return raw[:-40]


def flip(raw):
    return raw[:200] + bytes([raw[200] ^ 1]) + raw[201:]


@pytest.mark.parametrize("harm", [cut, flip, lambda raw: b""])
@pytest.mark.parametrize("kind", ["image", "label"])
def test_what_is_damaged_is_read_again(patches, tmp_path, harm, kind):
    target = target_at("lidc-nodules", patches, *SMALL)
    item = target.split_items().items[0]
    image, label = ItemArrays(target, tmp_path)[item]
    (path,) = tmp_path.rglob(f"*.{kind}.npy")
    path.write_bytes(harm(path.read_bytes()))
    again = ItemArrays(target, tmp_path)
    assert torch.equal(again[item][0], image)
    assert torch.equal(again[item][1], label)
    assert again.classes(item) == {1}
