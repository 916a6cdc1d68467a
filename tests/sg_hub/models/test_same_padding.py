"""SAME padding as TensorFlow has it."""

import pytest
import torch
import torch.nn.functional as F

from sg_hub.models.same_padding import SameConv3d, max_pool_same, pad_same


@pytest.mark.parametrize(
    ("kernel", "stride", "before", "behind"),
    [(7, 2, 2, 3), (5, 2, 1, 2), (3, 2, 0, 1), (3, 1, 1, 1), (2, 2, 0, 0), (1, 1, 0, 0), (1, 2, 0, 0)],
)
def test_what_is_missing_goes_behind_first(kernel, stride, before, behind):
    found = pad_same(torch.ones(1, 1, 4, 6, 8), (kernel, 1, 1), (stride, 1, 1))
    column = found[0, 0, :, 0, 0]
    assert found.shape[2:] == (4 + before + behind, 6, 8)
    assert column.tolist() == [0] * before + [1] * 4 + [0] * behind


def test_every_axis_has_its_own():
    found = pad_same(torch.ones(1, 1, 4, 4, 4), (3, 5, 7), (2, 2, 2))
    assert found.shape[2:] == (5, 7, 9)
    inside = found[0, 0, :4, 1:5, 2:6]
    assert float(inside.sum()) == float(found.sum()) == 64


@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (3, 1), (1, 1)])
def test_a_convolution_gives_a_voxel_for_each_stride(kernel, stride):
    layer = SameConv3d(1, 2, kernel, stride)
    x = torch.rand(1, 1, 8, 4, 6)
    with torch.inference_mode():
        found = layer(x)
        corner = F.conv3d(pad_same(x, (kernel,) * 3, (stride,) * 3)[..., :kernel, :kernel, :kernel], layer.weight)
    assert found.shape[2:] == tuple(side // stride for side in x.shape[2:])
    torch.testing.assert_close(found[..., :1, :1, :1], corner)


def test_pooling_takes_windows_that_begin_at_the_voxel_itself():
    x = torch.arange(1, 9.0).view(1, 1, 8, 1, 1)
    assert max_pool_same(x, (3, 1, 1), (2, 1, 1)).flatten().tolist() == [3, 5, 7, 8]
    assert max_pool_same(x, (3, 3, 3), (1, 1, 1)).flatten().tolist() == [2, 3, 4, 5, 6, 7, 8, 8]
