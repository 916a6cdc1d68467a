import pytest
import torch

from sg_hub import InvalidInputError, PretextOutput, SemanticGenesis3D


def small(**options):
    torch.manual_seed(0)
    return SemanticGenesis3D(**({"width": 2, "num_classes": 5, "norm": "batch"} | options))


def cube(n=2, c=1, size=(16, 16, 8)):
    return torch.rand(n, c, *size, generator=torch.Generator().manual_seed(1))


def test_full_width_has_the_parameters_of_the_published_network():
    # Summed over the keys of the published state dict, without its buffers.
    with torch.device("meta"):
        model = SemanticGenesis3D(width=32, num_classes=44)
    assert sum(p.numel() for p in model.parameters()) == 33_277_613


@pytest.mark.parametrize("norm", ["batch_stats", "batch", "instance"])
def test_heads_give_the_shapes_of_the_contract(norm):
    out = small(norm=norm)(cube())
    assert isinstance(out, PretextOutput)
    assert out.restoration.shape == (2, 1, 16, 16, 8)
    assert 0 <= out.restoration.min() <= out.restoration.max() <= 1
    assert out.pattern_logits.shape == (2, 5)
    assert small(norm=norm, head="segmentation")(cube()).shape == (2, 5, 16, 16, 8)
    assert small(norm=norm, head="classification")(cube()).shape == (2, 5)


def test_segmentation_gives_logits():
    logits = small(head="segmentation", num_classes=3)(cube())
    assert not torch.allclose(logits.sum(1), torch.ones(()), atol=1e-3)


def test_encoder_gives_feature_maps_finest_first():
    encoder = small(in_chans=2).encoder
    maps = encoder(cube(c=2, size=(24, 16, 8)))
    assert encoder.channels == (4, 8, 16, 32)
    assert encoder.strides == (1, 2, 4, 8)
    for feature, channels, stride in zip(maps, encoder.channels, encoder.strides, strict=True):
        assert feature.shape == (2, channels, 24 // stride, 16 // stride, 8 // stride)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 1, 16, 16), "2D batch"),
        ((16, 16, 8), "missing axes"),
        ((2, 3, 16, 16, 8), "in_chans=3"),
        ((2, 1, 17, 16, 12), "nearest allowed size is (16, 16, 16)"),
    ],
)
def test_wrong_shapes_are_refused_with_what_to_do(shape, words):
    with pytest.raises(InvalidInputError) as error:
        small().eval()(torch.rand(shape))
    assert words in str(error.value)


@pytest.mark.parametrize("head", ["pretext", "segmentation", "classification"])
def test_any_size_on_request(head):
    model = small(head=head).eval()
    with torch.inference_mode():
        out = model(cube(size=(13, 9, 7)), pad=True)
        exact = model(cube(size=(16, 16, 8)), pad=True)
        plain = model(cube(size=(16, 16, 8)))
    first = out[0] if head == "pretext" else out
    assert first.shape[2:] == ((13, 9, 7) if head != "classification" else ())
    torch.testing.assert_close(exact, plain)


def test_batch_stats_uses_the_batch_in_evaluation_and_batch_does_not():
    x = cube(3)
    with torch.inference_mode():
        batch, running = small(norm="batch_stats").eval(), small(norm="batch").eval()
        assert not torch.allclose(batch(x).pattern_logits[:1], batch(x[:1]).pattern_logits, atol=1e-5)
        torch.testing.assert_close(running(x).pattern_logits[:1], running(x[:1]).pattern_logits)


@pytest.mark.parametrize("norm", ["batch_stats", "instance"])
def test_one_voxel_cannot_be_normalised(norm):
    with pytest.raises(InvalidInputError, match="one value per channel"):
        small(norm=norm).eval()(cube(1, size=(8, 8, 8)))
    assert small(norm="batch").eval()(cube(1, size=(8, 8, 8))).pattern_logits.shape == (1, 5)


@pytest.mark.parametrize(
    "wrong", [{"head": "detection"}, {"norm": "layer"}, {"width": 0}, {"in_chans": 1.5}, {"num_classes": True}]
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        small(**wrong)


def test_gradients_reach_every_parameter():
    model = small().train()
    out = model(cube())
    (out.restoration.mean() + out.pattern_logits.square().mean()).backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for n, p in model.named_parameters() if "conv.bias" not in n
    )
