"""What every family of networks gives, and does, alike."""

import pytest
import torch

import sg_hub
from sg_hub import InvalidInputError, PretextOutput
from sg_hub.models.input_checks import per_axis
from sg_hub.models.registry import families, family
from tests.sg_hub.models.small_families import SMALL, batch, small

HEADS = {"pretext": 3, "restoration": None, "segmentation": 3, "classification": 2, "features": None}
every_family = pytest.mark.parametrize("name", families())


def run(model, x):
    with torch.inference_mode():
        return model.eval()(x)


@every_family
def test_a_family_says_what_it_is(name):
    assert name in SMALL, "name small settings of it in small_families.py"
    cls = family(name)
    assert all(isinstance(text, str) and text for text in (cls.TITLE, cls.SOURCE, cls.LICENCE, cls.EXPECTS))
    assert cls.NDIM in (2, 3)


@every_family
@pytest.mark.parametrize("channels", [1, 2])
def test_every_head_of_every_family(name, channels):
    for head, classes in HEADS.items():
        options = {"head": head, "in_chans": channels} | ({"num_classes": classes} if classes else {})
        model = small(name, **options)
        x = batch(model)
        out = run(model, x)
        size = tuple(x.shape[2:])
        if head == "pretext":
            assert isinstance(out, PretextOutput)
            assert (out.restoration.shape, out.pattern_logits.shape) == (x.shape, (2, 3))
        elif head == "features":
            strides = [per_axis(stride, model.NDIM) for stride in model.encoder.strides]
            expected = [
                (2, count, *(side // step for side, step in zip(size, steps, strict=True)))
                for count, steps in zip(model.encoder.channels, strides, strict=True)
            ]
            assert [tuple(found.shape) for found in out] == expected
        else:
            assert out.shape == {"restoration": x.shape, "segmentation": (2, 3, *size), "classification": (2, 2)}[head]


@every_family
def test_saved_and_loaded_it_gives_the_same_with_any_head(name, tmp_path):
    model = small(name, head="segmentation", num_classes=3, class_names=["background", "liver", "tumour"])
    model.save_pretrained(tmp_path)
    again = sg_hub.from_pretrained(tmp_path)
    x = batch(model)
    assert torch.equal(run(again, x), run(model, x))
    assert (type(again), again.config(), again.class_names[1]) == (type(model), model.config(), "liver")
    other = sg_hub.from_pretrained(tmp_path, head="classification", num_classes=2, part="encoder")
    assert not any(key.startswith("encoder.") for key in other.load_report.reset)
    for ours, theirs in zip(other.encoder(x), model.encoder(x), strict=True):
        torch.testing.assert_close(ours, theirs)


@every_family
def test_other_channels_keep_what_the_same_image_gives(name, tmp_path):
    model = small(name, head="features", in_chans=2).eval()
    model.save_pretrained(tmp_path)
    four = sg_hub.from_pretrained(tmp_path, in_chans=4)
    assert f"encoder.{model.encoder.input_key}" in four.load_report.adapted
    x = batch(model)[:, :1]
    for ours, theirs in zip(
        run(four, x.expand(-1, 4, *x.shape[2:])), run(model, x.repeat_interleave(2, 1)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


@every_family
def test_any_size_on_request_and_else_none(name):
    model = small(name, head="segmentation", num_classes=2).eval()
    x = batch(model)[..., :-1]
    with pytest.raises(InvalidInputError, match="nearest allowed size"):
        model(x)
    assert model(x, pad=True).shape == (2, 2, *x.shape[2:])


@every_family
def test_every_weight_is_taught(name):
    model = small(name, head="segmentation", num_classes=2).train()
    x = batch(model, multiples=3)
    model(x).logsumexp(1).mean().backward()
    without = [key for key, value in model.named_parameters() if value.grad is None]
    assert without == []
