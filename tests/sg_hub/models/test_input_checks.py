import numpy as np
import pytest
import torch

from sg_hub import InvalidInputError
from sg_hub.models.input_checks import check_shape, check_tensor, check_values, nearest_size, pad_to_multiple, per_axis


def check(x, in_chans=1, stride=8, ndim=3):
    check_tensor(x, ndim)
    check_shape(x, in_chans, stride, ndim)
    check_values(x)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.rand(2, 1, 8, 8), r"\(2, 1, 8, 8\): a 3D model takes \(N, C, X, Y, Z\); a 2D batch .* needs a 2D model"),
        (torch.rand(8, 8, 8), r"add the missing axes"),
        (torch.rand(1, 2, 8, 8, 8), r"2 channels given to a model with in_chans=1: load it with"),
        (torch.rand(1, 1, 8, 8, 8) * 2000 - 1000, r"in HU\?\) given to a model that expects 0\.\.1: use model\.pre"),
        (torch.full((1, 1, 8, 8, 8), 255.0), r"expects 0\.\.1"),
        (torch.full((1, 1, 8, 8, 8), float("nan")), r"NaN.*load_scan\(path, nan=-1000\)"),
        (torch.zeros(1, 1, 8, 8, 8, dtype=torch.uint8), r"expected floating point"),
        (torch.zeros(0, 1, 8, 8, 8), r"is empty"),
        (np.zeros((1, 1, 8, 8, 8)), r"input is a ndarray: a model takes a tensor"),
        (torch.rand(1, 1, 12, 8, 8), r"every side must be a multiple of 8; the nearest allowed size is \(16, 8, 8\)"),
    ],
)
def test_inputs_that_no_3d_network_can_use(x, message):
    with pytest.raises(InvalidInputError, match=message):
        check(x)


def test_inputs_that_are_fine():
    check(torch.rand(2, 3, 8, 8, 8), in_chans=3)
    check(torch.rand(2, 3, 8, 8), in_chans=3, ndim=2)
    check(torch.rand(1, 1, 8, 8, 8) * 1.4 - 0.2)  # noise and interpolation overshoot
    check(torch.rand(1, 1, 8, 8, 8, dtype=torch.bfloat16))
    check(torch.rand(1, 1, 8, 8, 8, dtype=torch.float16))
    check(torch.rand(1, 1, 8, 8, 8, device="meta"))  # shapes alone, as where costs are counted
    with pytest.raises(InvalidInputError, match=r"2D model takes \(N, C, H, W\); a batch of scans"):
        check(torch.rand(1, 1, 8, 8, 8), ndim=2)


def test_a_stride_may_be_another_along_each_axis():
    assert per_axis((2, 2, 1), 3) == (2, 2, 1)
    check(torch.rand(1, 1, 8, 4, 3), stride=(4, 4, 1))
    with pytest.raises(InvalidInputError, match=r"multiple of \(4, 4, 1\); the nearest allowed size is \(4, 4, 3\)"):
        check(torch.rand(1, 1, 4, 5, 3), stride=(4, 4, 1))
    assert nearest_size((5, 9, 3), (4, 4, 1)) == (4, 8, 3)
    x = torch.rand(1, 1, 5, 4, 3)
    padded = pad_to_multiple(x, (4, 4, 1))
    assert padded.shape == (1, 1, 8, 4, 3)
    assert torch.equal(padded[:, :, 5:], x[:, :, 4:].expand(-1, -1, 3, -1, -1))
