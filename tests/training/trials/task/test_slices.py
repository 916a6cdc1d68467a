"""Axial slices of cubes, and the way back."""

import torch

from training.trials.task.slices import axial_slices, from_axial_slices


def test_slices_are_axial_and_come_back():
    x = torch.zeros(1, 5, 6, 7)
    x[0, 4, 1, 3] = 1
    slices = axial_slices(x)
    assert slices.shape == (7, 1, 6, 5)
    assert slices[3, 0, 1, 4] == 1
    assert torch.equal(from_axial_slices(slices), x)
