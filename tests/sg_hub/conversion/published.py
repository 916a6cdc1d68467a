"""Checkpoints in the published formats, with tensors from random numbers, and the network in functions of its own."""

import json

import numpy as np
import torch
import torch.nn.functional as F

from tests.support.folders import TEST_SAMPLES

FOLDER = TEST_SAMPLES / "official_checkpoint"
PUBLIC = TEST_SAMPLES / "public_models"


def shapes_in(file):
    """Keys and shapes of a published state dict."""
    return {key: tuple(shape) for key, shape in json.loads(file.read_text(encoding="utf-8")).items()}


SHAPES = shapes_in(FOLDER / "state_dict_keys.json")


def filled(seed=2020, shapes=SHAPES):
    """Every tensor of a checkpoint: key number i (sorted) draws from default_rng([seed, i])."""
    state = {}
    for index, key in enumerate(sorted(shapes)):
        generator, shape = np.random.default_rng([seed, index]), shapes[key]
        last = key.rsplit(".", 1)[1]
        if last == "num_batches_tracked":
            state[key] = torch.tensor(7)
            continue
        values = generator.standard_normal(shape)
        if last == "running_var":
            values = np.exp(0.1 * values)
        elif last == "weight" and len(shape) == 1:
            values = 1 + 0.1 * values
        elif last == "weight":
            values = values * np.sqrt(2 / np.prod(shape[1:]))
        else:
            values = 0.1 * values
        state[key] = torch.from_numpy(values.astype(np.float32))
    return state


def light(classes=44):
    """The same keys and shapes, with one number behind each: files of a few kilobytes."""
    state = {key: torch.full((), 0.5).expand(shape) for key, shape in SHAPES.items()}
    for key in state:
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
    state["clc_out.fc1.weight"] = torch.full((), 0.5).expand(classes, 1024)
    state["clc_out.fc1.bias"] = torch.full((), 0.5).expand(classes)
    return state


def checkpoint(state, prefix="module."):
    """As the authors' training saved it; the losses are numbers of NumPy."""
    return {
        "epoch": 12,
        "state_dict": {prefix + key: value for key, value in state.items()},
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 1e-3, "params": []}]},
        "num_epoch_no_improvement": 0,
        "best_loss": np.float64(0.25),
        "best_acc": np.float32(0.5),
    }


def without_classifier(state):
    return {key: value for key, value in state.items() if not key.startswith("clc_out.")}


def reference(state, x, norm="batch_stats", eps=1e-5, up=None):
    """The network as its description says, in plain functions: restoration, logits, bottleneck."""

    def block(x, name, n):
        key = f"{name}.bn{n}"
        x = F.conv3d(x, state[f"{name}.conv{n}.weight"], state[f"{name}.conv{n}.bias"], padding=1)
        mean, var = x.mean((0, 2, 3, 4)), x.var((0, 2, 3, 4), correction=0)
        if norm == "batch":
            mean, var = state[f"{key}.running_mean"], state[f"{key}.running_var"]
        shape = (1, -1, 1, 1, 1)
        x = (x - mean.view(shape)) / (var.view(shape) + eps).sqrt()
        return F.relu(x * state[f"{key}.weight"].view(shape) + state[f"{key}.bias"].view(shape))

    skips = []
    for channels in (64, 128, 256, 512):
        x = x if channels == 64 else F.max_pool3d(x, 2)
        x = block(block(x, f"down_tr{channels}.ops.0", 1), f"down_tr{channels}.ops.1", 1)
        skips.append(x)
    for channels in (256, 128, 64):
        name = f"up_tr{channels}"
        raised = (
            up(x) if up else F.conv_transpose3d(x, state[f"{name}.up_conv.weight"], state[f"{name}.up_conv.bias"], 2)
        )
        joined = torch.cat([raised, skips[(64, 128, 256).index(channels)]], 1)
        x = block(block(joined, f"{name}.ops.0", 1), f"{name}.ops.1", 1)
    restoration = torch.sigmoid(F.conv3d(x, state["out_tr.final_conv.weight"], state["out_tr.final_conv.bias"]))
    logits = None
    if "clc_out.fc1.weight" in state:
        hidden = block(skips[-1], "clc_out", 1).mean((2, 3, 4))
        logits = F.linear(hidden, state["clc_out.fc1.weight"], state["clc_out.fc1.bias"])
    return restoration, logits, skips[-1]


def write_keras(path, layers, *, root="model_weights", first=1, style="keras2", config=None):
    """An .h5 as Keras lays it out; HDF5 lists layers by name, not by number."""
    import h5py

    numbers = {}
    with h5py.File(path, "w") as file:
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        for kind, weights in layers:
            number = numbers[kind] = numbers.get(kind, first - 1) + 1
            name = f"{kind}_{number}" if number else kind
            group = {"keras2": f"{name}/{name}", "keras3": f"{name}/functional/{name}", "nested": f"model_1/{name}"}
            for key, value in weights.items():
                suffix = "" if style == "keras3" else ":0"
                file[f"{root}/{group[style]}/{key}{suffix}"] = value
        file.create_group(f"{root}/activation_1")  # layers without weights are empty groups
        file["optimizer_weights/Adam/conv3d_1/kernel:0"] = np.zeros(3)
    return path


def cubes(n=2):
    return torch.rand(n, 1, 16, 16, 8, generator=torch.Generator().manual_seed(1))


def close(found, wanted):
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
