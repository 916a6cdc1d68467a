"""NiftyNet's checkpoint of TensorFlow 1, as a reader of TensorFlow gives it; the released file was not at hand."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

import sg_hub
from sg_hub import InvalidInputError, convert
from sg_hub.models.families.dense_vnet import DenseVNet

X = torch.rand(1, 1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
ORDER = ["encoder.first"]
"""The network's convolutions as NiftyNet makes them."""
for stack, units in enumerate((5, 10, 10)):
    ORDER += [f"encoder.stacks.{stack}.units.{unit}" for unit in range(units)]
    ORDER += [f"decoder.skips.{stack}", *([f"encoder.down.{stack}"] if stack < 2 else [])]
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def variables_of(model):
    """Variables as TensorFlow names and lays them out: every name is numbered where it comes again."""
    state, found = {key: value.numpy() for key, value in model.state_dict().items()}, {}
    for number, module in enumerate(ORDER):
        layer = f"DenseVNet/conv_bn_relu{f'_{number}' if number else ''}"
        found[f"{layer}/conv_/w"] = state[f"{module}.conv.weight"].transpose(2, 3, 4, 1, 0)
        for theirs, ours in NORM.items():
            found[f"{layer}/bn_/{theirs}"] = state[f"{module}.norm.{ours}"]
    found["DenseVNet/conv_bias/conv_/w"] = state["segmentation.conv.weight"].transpose(2, 3, 4, 1, 0)
    found["DenseVNet/conv_bias/conv_/b"] = state["segmentation.conv.bias"]
    return found


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Converts a checkpoint that holds these variables."""

    def converted(variables):
        reader = SimpleNamespace(
            get_variable_to_shape_map=lambda: {name: list(value.shape) for name, value in sorted(variables.items())},
            get_tensor=variables.__getitem__,
        )
        tensorflow = ModuleType("tensorflow")
        tensorflow.train = SimpleNamespace(load_checkpoint=lambda name: reader)
        monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
        (tmp_path / "model.ckpt-3000.index").write_bytes(b"\0")
        return convert(tmp_path / "model.ckpt-3000", tmp_path / "out")

    return converted


@pytest.fixture(scope="module")
def published():
    torch.manual_seed(0)
    model = DenseVNet(head="segmentation", num_classes=9).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model


def test_a_converted_checkpoint_gives_the_same(published, read):
    training = {"global_step": np.int64(3000), "DenseVNet/conv_bn_relu/conv_/w/Adam": np.zeros(3, np.float32)}
    training["beta1_power"] = np.float32(0.9)
    model = sg_hub.from_pretrained(read(variables_of(published) | training))
    assert (model.head_name, model.num_classes, model.load_report.reset) == ("segmentation", 9, [])
    assert model.provenance["left_out"] == sorted(training)
    assert model.provenance["file"] == "model.ckpt-3000.index"
    assert (model.preprocessing.size, model.preprocessing.modality) == ((144, 144, 144), "CT")
    with torch.inference_mode():
        torch.testing.assert_close(model(X), published(X))


def test_other_numbers_of_classes(read):
    model = DenseVNet(head="segmentation", num_classes=4)
    assert sg_hub.from_pretrained(read(variables_of(model))).num_classes == 4


def changed(name, value):
    """The published variables with one of them another one, or (None) not there."""

    def change(variables):
        found = dict(variables) | {name: value}
        return {key: each for key, each in found.items() if each is not None}

    return change


FIRST = "DenseVNet/conv_bn_relu"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed(f"{FIRST}_3/conv_/w", None), "DenseVNet/conv_bn_relu_3 is no convolution in 3D"),
        (
            changed(f"{FIRST}/conv_/w", np.zeros((3, 3, 3, 1, 24), np.float32)),
            "it has no kernel of (5, 5, 5, 1, 24), which encoder.first needs",
        ),
        (
            changed("DenseVNet/more/conv_/w", np.zeros((3, 3, 3, 7, 7), np.float32)),
            "has layers that the Dense V-Net has not: DenseVNet/more/conv_/w",
        ),
        (
            changed(f"{FIRST}_1/bn_/gamma", None),
            "1 keys are missing: encoder.stacks.0.units.0.norm.weight",
        ),
        (
            changed(f"{FIRST}_1/bn_/gamma", np.ones(5, np.float32)),
            "encoder.stacks.0.units.0.norm.weight (DenseVNet/conv_bn_relu_1/bn_/gamma in the file) has (5,)",
        ),
        (changed(f"{FIRST}_1/conv_/b", np.ones(4, np.float32)), "1 are unexpected: DenseVNet/conv_bn_relu_1/conv_/b"),
        (changed("DenseVNet/prior", np.ones((1, 12, 12, 12, 9), np.float32)), "no convolution in 3D"),
    ],
)
def test_other_networks_are_refused_by_their_variables(published, read, change, words, tmp_path):
    with pytest.raises(InvalidInputError) as error:
        read(change(variables_of(published)))
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()
