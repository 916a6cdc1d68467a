"""Semantic Genesis' Keras file, as its layout is described: no released file was at hand. (PyTorch: test_convert.)"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import sg_hub
from sg_hub import InvalidInputError, convert
from sg_hub.conversion.keras_file import read_keras
from sg_hub.conversion.releases.semantic_genesis import RELEASE
from tests.sg_hub.conversion.published import close, cubes, filled, light, reference
from tests.sg_hub.conversion.published import write_keras as write

h5py = pytest.importorskip("h5py", reason="h5py is in the extra [convert]")

CONVOLUTIONS = [f"down_tr{c}.ops.{block}" for c in (64, 128, 256, 512) for block in (0, 1)]
CLASSIFIER = "clc_out"
DECODER = [f"up_tr{c}.ops.{block}" for c in (256, 128, 64) for block in (0, 1)]
UP = [f"up_tr{c}.up_conv" for c in (256, 128, 64)]


def layers_of(state, classifier_last=False, transposed=True):
    """(kind, weights) of each layer in order of construction, in Keras' axes."""
    order = [*CONVOLUTIONS, *DECODER, "out_tr", CLASSIFIER]
    if not classifier_last:
        order = [*CONVOLUTIONS, CLASSIFIER, *DECODER, "out_tr"]

    def array(key, axes=None):
        value = state[key].numpy()
        return value if axes is None else value.transpose(axes)

    for name in order:
        if name.endswith("ops.0") and name.startswith("up_") and transposed:
            key = name.replace("ops.0", "up_conv")
            weights = {"kernel": array(f"{key}.weight", (2, 3, 4, 1, 0)), "bias": array(f"{key}.bias")}
            yield "conv3d_transpose", weights
        module = "out_tr.final_conv" if name == "out_tr" else f"{name}.conv1"
        weights = {"kernel": array(f"{module}.weight", (2, 3, 4, 1, 0)), "bias": array(f"{module}.bias")}
        yield "conv3d", weights
        if name == "out_tr":
            continue
        keys = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        yield "batch_normalization", {keras: array(f"{name}.bn1.{ours}") for keras, ours in keys.items()}
    yield "dense", {"kernel": array("clc_out.fc1.weight", (1, 0)), "bias": array("clc_out.fc1.bias")}


@pytest.fixture(scope="module")
def state():
    return filled(seed=7)


@pytest.mark.parametrize("classifier_last", [False, True])
def test_it_gives_the_numbers_of_the_pytorch_checkpoint(state, tmp_path, classifier_last):
    file = write(tmp_path / "semantic_genesis_chest_ct.h5", layers_of(state, classifier_last))
    model = sg_hub.from_pretrained(convert(file, tmp_path / "out"))
    assert (model.norm, model.head_name, model.num_classes) == ("batch_stats", "pretext", 44)
    with torch.inference_mode():
        output = model(cubes())
        restoration, logits, _ = reference(state, cubes())
    close(output.restoration, restoration)
    close(output.pattern_logits, logits)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "not on the released file" in card


def test_running_statistics_with_the_epsilon_of_keras(state, tmp_path):
    file = write(tmp_path / "a.h5", layers_of(state))
    model = sg_hub.from_pretrained(convert(file, tmp_path / "out", norm="batch"))
    with torch.inference_mode():
        close(model(cubes()).restoration, reference(state, cubes(), "batch", eps=1e-3)[0])


def test_an_epsilon_that_the_file_says(tmp_path):
    layer = {"class_name": "BatchNormalization", "config": {"name": "batch_normalization_2", "epsilon": 0.5}}
    file = write(tmp_path / "a.h5", layers_of(light()), config={"class_name": "Model", "config": {"layers": [layer]}})
    tensors, _ = RELEASE.from_keras(read_keras(file), file)
    assert float(tensors["down_tr64.ops.0.bn1.running_var"][0]) == pytest.approx(0.5 + 1e-3 - 1e-5)
    assert float(tensors["down_tr64.ops.1.bn1.running_var"][0]) == pytest.approx(0.5 + 0.5 - 1e-5)


def test_up_sampling_becomes_the_transposed_convolution_that_repeats(state, tmp_path):
    file = write(tmp_path / "a.h5", layers_of(state, transposed=False))
    model = sg_hub.from_pretrained(convert(file, tmp_path / "out"))
    with torch.inference_mode():
        wanted, _, _ = reference(state, cubes(), up=lambda x: F.interpolate(x, scale_factor=2, mode="nearest"))
        close(model(cubes()).restoration, wanted)


@pytest.mark.parametrize(
    "layout",
    [{"first": 0}, {"first": 17}, {"style": "keras3"}, {"style": "nested"}, {"root": "/"}],
    ids=lambda layout: str(layout),
)
def test_ways_in_which_keras_writes_the_same(tmp_path, layout):
    state = {
        key: torch.full((), float(index)).expand(value.shape) for index, (key, value) in enumerate(light().items())
    }
    file = write(tmp_path / "a.h5", layers_of(state), **layout)
    tensors, _ = RELEASE.from_keras(read_keras(file), file)
    assert set(tensors) == set(state)
    for key, value in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        shift = 1e-3 - 1e-5 if key.endswith("running_var") else 0
        assert tensors[key].shape == value.shape, key
        assert float(tensors[key].flatten()[0]) == pytest.approx(float(value.flatten()[0]) + shift), key


def without(kind, position):
    layers = list(layers_of(light()))
    places = [index for index, (name, _) in enumerate(layers) if name == kind]
    del layers[places[position]]
    return layers


def narrower():
    layers = list(layers_of(light()))
    layers[2][1]["kernel"] = np.zeros((3, 3, 3, 32, 48), np.float32)
    return layers


def with_first(layer, weight, value):
    layers = list(layers_of(light()))
    shape = layers[layer][1][weight].shape
    layers[layer][1][weight] = np.full(shape, value)
    return layers


def without_bias():
    layers = list(layers_of(light()))
    del layers[0][1]["bias"]
    return layers


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (lambda: without("conv3d", 0), r"15 layers of Conv3D \(conv3d_1.*expected 16"),
        (lambda: without("conv3d_transpose", 0), r"2 layers of Conv3DTranspose \(conv3d_transpose_1.*expected 3"),
        (lambda: without("batch_normalization", 0), r"14 layers of BatchNormalization.*expected 15"),
        (lambda: without("dense", 0), r"0 layers of Dense \(none\), expected 1"),
        (narrower, r"down_tr64\.ops\.1\.conv1\.weight \(conv3d_2/kernel in the file\) has \(48, 32, 3, 3, 3\)"),
        (
            lambda: with_first(0, "kernel", np.int32(1)),
            r"1 have the wrong type: .*\(conv3d_1/kernel in the file\) is torch\.int32, expected floating-point",
        ),
        (lambda: with_first(1, "moving_variance", -1e-4), "batch_normalization_1/moving_variance holds negative"),
        (without_bias, "layer conv3d_1 has no bias, but kernel"),
        (lambda: [*layers_of(light()), ("lstm", {"kernel": np.zeros(3)})], "unknown layers.*lstm_1"),
        (lambda: [("conv2d", {"kernel": np.zeros(3)})], "unknown layers.*conv2d_1"),
        (list, r"0 layers of Conv3D \(none\)"),
    ],
)
def test_another_keras_network_is_refused_by_its_layers(tmp_path, layers, words):
    with pytest.raises(InvalidInputError, match=words):
        convert(write(tmp_path / "a.h5", layers()), tmp_path / "out")
    assert not (tmp_path / "out").exists()
