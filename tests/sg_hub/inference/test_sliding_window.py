"""Windows: blending, padding, and what is refused."""

import pytest
import torch
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.inference import sliding_window
from sg_hub.inference.sliding_window import Windows
from tests.sg_hub.inference.networks import PATCH


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize(
    ("size", "patch"),
    [((19, 14, 23), (8, 8, 8)), ((8, 16, 9), (8, 8, 8)), ((3, 30, 5), (8, 16, 7)), ((1, 2, 3), (8, 8, 8))],
)
def test_an_identity_network_gives_the_input(size, patch, overlap):
    x = torch.rand(1, 2, *size)
    found = sliding_window(nn.Identity(), x, patch_size=patch, overlap=overlap, batch_size=3)
    assert found.dtype == torch.float32
    assert torch.allclose(found, x, atol=1e-5)


def test_convolutions_run_in_the_layout_in_which_a_cpu_is_quickest():
    network, x, seen = (
        nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 2, 3, padding=1)),
        torch.rand(1, 1, *PATCH),
        [],
    )
    expected = network(x).detach()
    layout = torch.channels_last_3d
    network[1].register_forward_hook(lambda module, *_: seen.append(module.weight.is_contiguous(memory_format=layout)))
    found = sliding_window(network, x, patch_size=PATCH)
    assert seen == [True]
    assert network[1].weight.is_contiguous()  # as it was
    assert torch.allclose(found, expected, atol=1e-6)


def test_windows_count_most_in_their_middle():
    class Corner(nn.Module):
        """0 but for the border of its window."""

        def forward(self, x: Tensor) -> Tensor:
            border = torch.ones_like(x)
            border[..., 1:-1, 1:-1, 1:-1] = 0
            return border

    found = sliding_window(Corner(), torch.zeros(1, 1, 24, 24, 24), patch_size=(8, 8, 8), overlap=0.5)
    assert float(found[..., 8:16, 8:16, 8:16].max()) < 0.05
    assert float(found[..., 0, :, :].min()) == pytest.approx(1)


def test_a_small_scan_is_padded_by_its_border():
    class Lowest(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.amin().expand_as(x)

    found = sliding_window(Lowest(), torch.full((1, 1, 3, 20, 5), 0.7), patch_size=PATCH)
    assert torch.allclose(found, torch.full((1, 1, 3, 20, 5), 0.7))


@pytest.mark.parametrize(("size", "patch"), [((19, 14), (8, 8)), ((3, 30), (8, 16))])
def test_images_go_through_in_windows_too(size, patch):
    x = torch.rand(1, 2, *size)
    assert torch.allclose(sliding_window(nn.Identity(), x, patch_size=patch), x, atol=1e-5)


def test_what_is_margin_is_not_content():
    windows = Windows.of((64, 64), (64, 64), 0.5, [(0, 0), (10, 11)])
    assert (windows.size, windows.before, windows.starts) == ((64, 43), (0, 10), ((0,), (0,)))
    windows = Windows.of((10, 30), (16, 16), 0.5, [(1, 2), (0, 0)])
    assert (windows.size, windows.before) == ((7, 30), (4, 0))


def test_what_is_no_scan_and_a_network_that_gives_another_size_are_refused():
    with pytest.raises(InvalidInputError, match=r"expected one scan \(1, C, X, Y, Z\)"):
        sliding_window(nn.Identity(), torch.zeros(2, 1, 8, 8, 8), patch_size=PATCH)
    with pytest.raises(InvalidInputError, match=r"gives \(1, 1, 4, 4, 4\) for a patch of .* of the same size"):
        sliding_window(nn.MaxPool3d(2), torch.zeros(1, 1, 8, 8, 8), patch_size=PATCH)
