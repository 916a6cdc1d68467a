"""Batches: balanced, mirrored, shifted, cut."""

from types import SimpleNamespace

import pytest
import torch

from tests.training.targets.target_folders import target_at
from training.targets import Item, in_parts
from training.trials.task.batches import Batches
from training.trials.task.item_arrays import ItemArrays

SMALL = ("grid.size=[16, 16, 8]", "settings.batch_size=4")


def test_batches_are_balanced_and_masks_move_with_the_image(patches, tmp_path):
    overrides = ["settings.balanced=true", "settings.shift=3", "settings.mirror=xyz"]
    target = target_at("lidc-malignancy", patches, *SMALL, *overrides)
    train = in_parts(target.split_items().items)["train"]
    x, y = Batches(target, ItemArrays(target, tmp_path), train).draw(torch.Generator().manual_seed(0))
    assert x.shape == (4, 1, 16, 16, 8)
    assert y.tolist() == [0, 1, 0, 1]
    target = target_at("lidc-nodules", patches, *SMALL, "settings.shift=3", "settings.mirror=xyz")
    train = in_parts(target.split_items().items)["train"]
    for seed in range(5):
        x, y = Batches(target, ItemArrays(target, tmp_path), train).draw(torch.Generator().manual_seed(seed))
        assert torch.equal(x[:, 0] > 0.6, y == 1)  # blobs are bright wherever they were moved to


@pytest.mark.parametrize(("size", "count"), [(2, 3), (8, 3), (1, 2), (4, 5)])
def test_every_class_is_drawn_as_often_whatever_the_batch(size, count):
    settings = SimpleNamespace(balanced=True, batch_size=size, mirror="", shift=0)
    target = SimpleNamespace(head="classification", exclusive=True, sliced=False, ndim=2, settings=settings)
    items = [Item(f"{label}-{number}", "", "", label) for label in range(count) for number in range(2 + label)]
    arrays = {item: (torch.zeros(1, 2, 2), torch.tensor(item.label)) for item in items}
    batches, noise = Batches(target, arrays, items), torch.Generator().manual_seed(0)
    drawn = [label for step in range(count) for label in batches.draw(noise, step)[1].tolist()]
    assert drawn == [number % count for number in range(count * size)]


def test_every_other_patch_is_around_a_class_in_batches_of_one(patches, tmp_path):
    target = target_at("lidc-nodules", patches, *SMALL, "settings.patch=[2, 2, 2]", "settings.batch_size=1")
    batches = Batches(target, ItemArrays(target, tmp_path), in_parts(target.split_items().items)["train"])
    noise = torch.Generator().manual_seed(0)
    held = [bool((batches.draw(noise, step)[1] == 1).any()) for step in range(24)]
    assert all(held[::2])
    assert not all(held[1::2])


def test_patches_of_large_items_hold_the_classes_and_small_items_are_padded(patches, tmp_path):
    target = target_at("lidc-nodules", patches, *SMALL, "settings.patch=[8, 8, 8]")
    train = in_parts(target.split_items().items)["train"]
    batches = Batches(target, ItemArrays(target, tmp_path), train)
    x, y = batches.draw(torch.Generator().manual_seed(0))
    assert x.shape == (4, 1, 8, 8, 8)
    assert bool((y[0] == 1).any())
    assert bool((y[2] == 1).any())
    wide = target_at("lidc-nodules", patches, *SMALL, "settings.patch=[24, 16, 8]", 'settings.mirror=""')
    x, y = Batches(wide, ItemArrays(wide, tmp_path), train).draw(torch.Generator().manual_seed(0))
    assert x.shape == (4, 1, 24, 16, 8)
    assert bool((x[:, 0, 4] != x[:, 0, 19]).any())
    for found in (x[:, 0], y):  # the item, 16 long, in the middle, and its border repeated, as predict has it
        torch.testing.assert_close(found[:, :4], found[:, 4:5].expand(-1, 4, -1, -1), rtol=0, atol=0)
        torch.testing.assert_close(found[:, 20:], found[:, 19:20].expand(-1, 4, -1, -1), rtol=0, atol=0)


def test_batches_of_slices_are_2d(patches, tmp_path):
    for name, labels in (("lidc-nodules-2d", (4, 32, 32)), ("lidc-candidates-2d", (4,))):
        target = target_at(name, patches, "grid.size=[32, 32, 8]", "settings.batch_size=4")
        train = in_parts(target.split_items().items)["train"]
        x, y = Batches(target, ItemArrays(target, tmp_path), train).draw(torch.Generator().manual_seed(0))
        assert x.shape == (4, 1, 32, 32)
        assert y.shape == labels
