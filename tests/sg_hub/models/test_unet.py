import pytest
import torch

from sg_hub import InvalidInputError
from sg_hub.models.unet import NORMS, BatchStatNorm2d, BatchStatNorm3d, UNetDecoder, UNetEncoder, norm_layer

SIDE = {2: (32, 64), 3: (32, 16, 48)}


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("skips", [True, False])
def test_encoder_and_decoder_in_both_dimensions(ndim, norm, skips):
    encoder = UNetEncoder(2, 2, norm, ndim=ndim, levels=3)
    x = torch.rand(2, 2, *SIDE[ndim])
    maps = encoder(x)
    assert (encoder.channels, encoder.strides) == ((4, 8, 16), (1, 2, 4))
    assert encoder.get_parameter(encoder.input_key).shape[1] == 2
    decoder = UNetDecoder(encoder.channels, encoder.strides, ndim, norm=norm, skips=skips)
    assert decoder(maps).shape == (2, decoder.out_chans, *SIDE[ndim])
    assert decoder.out_chans == 4
    levels = decoder.eval().maps(maps)
    assert tuple(each.shape[1] for each in levels) == decoder.channels == (4, 8, 16)
    assert torch.equal(levels[0], decoder(maps))
    assert levels[-1] is maps[-1]
    seen = decoder.levels[0].blocks[0].conv.in_channels
    assert seen == (16 + 8 if skips else 16)


@pytest.mark.parametrize("up", ["transposed", "nearest"])
@pytest.mark.parametrize(
    ("ndim", "strides"),
    [
        (2, (2, 4, 8)),
        (2, (1, 4, 16)),
        (3, (2, 4, 8, 8, 8)),  # dilated, as MedicalNet is
        (3, (4, 16)),
        (3, ((2, 2, 1), (4, 4, 2), (8, 8, 4))),
        (3, ((1, 1, 1), (1, 2, 2))),
    ],
)
def test_a_decoder_for_any_strides(ndim, strides, up):
    channels = tuple(4 * 2**level for level in range(len(strides)))
    steps = [(stride,) * ndim if isinstance(stride, int) else stride for stride in strides]
    maps = [
        torch.rand(1, c, *(side // s for side, s in zip(SIDE[ndim], step, strict=True)))
        for c, step in zip(channels, steps, strict=True)
    ]
    decoder = UNetDecoder(channels, strides, ndim, norm="batch", up=up)
    assert decoder(maps).shape == (1, decoder.out_chans, *SIDE[ndim])
    narrow = UNetDecoder(channels, strides, ndim, norm="batch", up=up, width=3)
    assert narrow(maps).shape == (1, 3, *SIDE[ndim])


def test_strides_that_do_not_divide_are_refused():
    with pytest.raises(InvalidInputError, match=r"strides \(2, 3\)"):
        UNetDecoder((4, 8), (2, 3), 3)


@pytest.mark.parametrize(("ours", "theirs"), [(BatchStatNorm2d, "BatchNorm2d"), (BatchStatNorm3d, "BatchNorm3d")])
def test_batch_statistics_norm_equals_torch_in_training_and_keeps_buffers_in_evaluation(ours, theirs):
    torch.manual_seed(0)
    ndim = int(theirs[-2])
    ours, theirs, x = ours(3), getattr(torch.nn, theirs)(3), torch.randn(2, 3, *(4,) * ndim)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    before = ours.running_mean.clone()
    torch.testing.assert_close(ours.eval()(x), theirs(x))
    torch.testing.assert_close(ours.running_mean, before)


def test_a_norm_that_there_is_not():
    with pytest.raises(InvalidInputError, match="batch_stats, batch, instance"):
        norm_layer("running", 3, 3)
