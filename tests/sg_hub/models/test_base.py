"""What every model checks and has, whatever its family."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from sg_hub import InvalidInputError, SemanticGenesis2D, SemanticGenesis3D
from sg_hub.models.families.i3d import I3D
from sg_hub.models.families.medicalnet import MedicalNet
from sg_hub.models.families.timm_unet import TimmUNet


def build(ndim=3, **options):
    torch.manual_seed(0)
    if ndim == 2:
        return SemanticGenesis2D(encoder="test_resnet", decoder_width=2, num_classes=3, **options)
    return SemanticGenesis3D(**({"width": 2, "num_classes": 3, "norm": "batch"} | options))


def hounsfield(ndim):
    return torch.rand(2, 1, *((64, 64) if ndim == 2 else (16, 16, 8))) * 2000 - 1000


@pytest.mark.parametrize("ndim", [2, 3])
def test_values_are_looked_at_in_evaluation_and_in_every_step_of_a_training_on_the_cpu(ndim):
    model, x = build(ndim), hounsfield(ndim)
    for each in (model.eval(), model.train()):
        each((x + 1000) / 2000)
        with pytest.raises(InvalidInputError, match=r"\(in HU\?\) given to a model that expects 0\.\.1"):
            each(x)


def test_values_of_a_zscore_are_those_that_its_limits_say():
    model = build()
    scores = dataclasses.replace(model.preprocessing, modality="MR", intensity="zscore", low=-5, high=5)
    model = build(preprocessing=scores).eval()
    model(torch.randn(1, 1, 16, 16, 8))
    with pytest.raises(InvalidInputError, match=r"expects -5\.\.5"):
        model(hounsfield(3))


@pytest.mark.parametrize("ndim", [2, 3])
def test_another_precision_or_device_than_that_of_the_weights_is_an_error_that_says_so(ndim):
    model, x = build(ndim, head="segmentation").eval(), (hounsfield(ndim) + 1000) / 2000
    with pytest.raises(InvalidInputError, match=r"of type torch.float16 given to a model of torch.float32: give x.to"):
        model(x.half())
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert model(x.half()).isfinite().all()
    with pytest.raises(InvalidInputError, match=r"of type torch.float32 given to a model of torch.bfloat16"):
        model.bfloat16()(x)
    with pytest.raises(InvalidInputError, match=r"input on cpu given to a model on meta: give x.to\('meta'\)"):
        model.float().to("meta")(x)


@pytest.mark.parametrize("head", ["pretext", "segmentation", "classification", "features"])
@pytest.mark.parametrize(
    ("ndim", "options"), [(3, {}), (3, {"norm": "batch_stats"}), (3, {"norm": "instance"}), (2, {})]
)
def test_one_value_per_channel_in_training_is_an_error_that_says_what_to_do(ndim, options, head):
    model = build(ndim, head=head, **options).train()
    side = model.encoder.strides[-1]
    with pytest.raises(InvalidInputError, match=r"one value per channel .* give larger inputs or .* several at once"):
        model(torch.rand(1, 1, *(side,) * ndim))
    model(torch.rand(1, 1, *(2 * side,) * ndim))


def test_an_error_of_another_kind_is_not_renamed(monkeypatch):
    model = build()

    def wrong(x):
        raise ValueError("something else")

    monkeypatch.setattr(model.encoder, "forward", wrong)
    with pytest.raises(ValueError, match="something else"):
        model(torch.rand(1, 1, 16, 16, 8))


def test_a_module_that_is_no_tensors_network_is_told_what_it_takes():
    with pytest.raises(InvalidInputError, match=r"input is a list: a model takes a tensor \(N, C, X, Y, Z\)"):
        build()([1, 2, 3])


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (SemanticGenesis3D, {"width": np.int64(2), "in_chans": np.uint8(2), "num_classes": np.int32(3)}),
        (MedicalNet, {"depth": np.int64(10), "width": np.int64(2), "decoder_width": np.int64(2), "head": "features"}),
        (I3D, {"width": np.int64(2), "mean": np.float32(0.5), "std": np.int64(1), "head": "features"}),
        (TimmUNet, {"encoder": "test_resnet", "mean": [np.float32(0.5)], "std": np.float32(0.5), "head": "features"}),
    ],
)
def test_numbers_of_numpy_are_numbers_and_plain_in_the_config(family, options, tmp_path):
    network = family(**options)
    assert json.loads(json.dumps(network.config())) == network.config()
    network.save_pretrained(tmp_path)
    assert family.from_pretrained(tmp_path).config() == network.config()


@pytest.mark.parametrize("value", [True, np.True_, np.float64(2), "2", 0, np.int64(0)])
def test_what_is_no_count_is_refused(value):
    with pytest.raises(InvalidInputError, match="expected a whole number of at least 1"):
        build(width=value)


def test_options_that_are_none_are_named_with_their_class():
    with pytest.raises(TypeError, match=r"SemanticGenesis3D.__init__\(\) got an unexpected keyword argument 'depth'"):
        build(depth=3)


def test_a_family_whose_settings_are_not_those_that_it_said_is_a_mistake_of_its_author():
    model = build()
    with pytest.raises(TypeError, match=r"SETTINGS are \('width', 'norm'\), assembled with \('width',\)"):
        model.assemble(nn.Identity(), width=2)
