"""A fine-tuned segmentation as a bundle of MONAI, which `monai.bundle` loads and runs where sg_hub is installed."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sg_hub.errors import InvalidInputError
from sg_hub.io.files import given_path, write_atomic, writing_folder
from sg_hub.io.finder import find_scans
from sg_hub.models import PretrainedModel
from sg_hub.models.heads import found_names
from sg_hub.models.input_checks import per_axis
from sg_hub.models.registry import build
from sg_hub.models.wrapped import unwrapped
from sg_hub.preprocessing.preprocessing import Preprocessing
from sg_hub.version import __version__

_INFERENCE, _METADATA = "configs/inference.json", "configs/metadata.json"
_README, _WEIGHTS = "docs/README.md", "models/model.pt"
_FILES = {_INFERENCE, _METADATA, _README, _WEIGHTS}
_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_OVERLAP = 0.5
_POSTFIX = "labels"
_NIFTI = (".nii.gz", ".nii")
_HERE = __name__


def export_bundle(model: PretrainedModel, folder: str | os.PathLike[str]) -> Path:
    """Write a bundle: `configs/inference.json`, `configs/metadata.json`, `models/model.pt`, `docs/README.md`.

    `python -m monai.bundle run --config_file FOLDER/configs/inference.json --bundle_root FOLDER --dataset_dir SCANS`
    writes the label map of every NIfTI below SCANS, and
    `monai.bundle.load(NAME, bundle_dir=PARENT, workflow_type="inference")` gives the network with its weights.

    Args:
        model: a segmentation of scans.
        folder: to be made; an older bundle in it is replaced where the folder holds nothing else.

    Raises:
        InvalidInputError: another model, or a folder that holds something else.
        ReadError: it cannot be written.
    """
    model = unwrapped(model)
    if not model.head.has_labels or not isinstance(model.preprocessing, Preprocessing):
        raise InvalidInputError(
            f"a {model.NDIM}D model with a {model.head_name} head: bundles are made of segmentations of scans; load it "
            'with from_pretrained(name, head="segmentation", num_classes=...), and fine-tune it'
        )
    place = given_path(folder, "the folder of the bundle")
    others = [file for file in place.rglob("*") if not file.is_dir() and str(file.relative_to(place)) not in _FILES]
    if place.exists() and (not place.is_dir() or others):
        held = (
            f" and holds {others[0].relative_to(place)}, which is not of a bundle that was made here" if others else ""
        )
        raise InvalidInputError(f"{place} is there{held}: give the name of a new folder")
    weights = io.BytesIO()
    torch.save({key: value.detach().cpu() for key, value in model.state_dict().items()}, weights)
    with writing_folder(place) as new:
        for name, text in (
            (_INFERENCE, json.dumps(_inference(model), indent=2)),
            (_METADATA, json.dumps(_metadata(model, place.resolve().name), indent=2)),
            (_README, _readme(model, place.resolve().name)),
        ):
            write_atomic(new / name, text + "\n")
        write_atomic(new / _WEIGHTS, weights.getvalue())
    return place


def network(config: Mapping[str, Any]) -> PretrainedModel:
    """The network of a bundle, without its weights; called by its inference.json."""
    return build(config).eval()


def scans_in(folder: str | os.PathLike[str], results: str | os.PathLike[str]) -> list[str]:
    """The NIfTI files below a folder, by `find_scans`; called by a bundle's inference.json.

    What the bundle wrote is no scan: what is below `results`, and NAME_labels beside NAME.

    Raises:
        InvalidInputError: none, or two scans of one name, whose results would have one name.
        ReadError: no such folder.
    """
    found = {name: path for name, path in find_scans(folder, results).items() if path.name.lower().endswith(_NIFTI)}
    kept = [str(path) for name, path in found.items() if name.removesuffix(f"_{_POSTFIX}") not in {*found} - {name}]
    if not kept:
        raise InvalidInputError(f"{folder} holds no scan in NIfTI: give --dataset_dir a folder that does")
    return kept


class Evaluator:
    """Runs a network over the scans of a loader, and what comes after it over every result.

    MONAI's own evaluators need ignite; this one needs nothing.
    """

    def __init__(self, network: nn.Module, dataloader: Any, inferer: Any, postprocessing: Any, device: Any) -> None:
        self.network, self.dataloader, self.inferer = network, dataloader, inferer
        self.postprocessing, self.device = postprocessing, device

    def run(self) -> list[Any]:
        """Results of all scans, without their voxels: the files that they came from."""
        from monai.data import decollate_batch

        done = []
        for batch in self.dataloader:
            with torch.inference_mode():
                batch["pred"] = self.inferer(batch["image"].to(self.device), self.network)
            for item in decollate_batch(batch):
                done.append(str(self.postprocessing(item)["pred"].meta.get("filename_or_obj", "")))
        return done


def _config(model: PretrainedModel) -> dict[str, Any]:
    """What builds the network, without where its weights came from, which metadata.json says."""
    return {"architecture": type(model).__name__} | {k: v for k, v in model.config().items() if k != "provenance"}


def _patch(model: PretrainedModel) -> list[int]:
    """Sides of the windows: the nearest that the network takes, no smaller than those that it was trained on."""
    steps = per_axis(model.encoder.strides[-1], 3)
    return [-(-side // step) * step for side, step in zip(model.preprocessing.input_size, steps, strict=True)]


def _inference(model: PretrainedModel) -> dict[str, Any]:
    several = model.num_classes > 1
    decide = {"argmax": True} if several else {"threshold": 0.5}
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": {"_target_": f"{_HERE}.scans_in", "folder": "@dataset_dir", "results": "@output_dir"},
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": f"{_HERE}.network", "config": _config(model)},
        "network": "$@network_def.to(@device)",
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
                {"_target_": "sg_hub.interop.monai.Preprocessd", "keys": "image", "model": "@network_def"},
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': file} for file in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": _patch(model),
            "sw_batch_size": 4,
            "overlap": _OVERLAP,
            "mode": "gaussian",
            "padding_mode": "replicate",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": several, "sigmoid": not several},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", **decide},
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": _POSTFIX,
                    "separate_folder": False,
                    "data_root_dir": "@dataset_dir",
                    "resample": False,
                    "output_dtype": "uint8" if model.num_classes <= 256 else "int16",
                },
            ],
        },
        "evaluator": {
            "_target_": f"{_HERE}.Evaluator",
            "network": "@network",
            "dataloader": "@dataloader",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "device": "@device",
        },
        # Weights are read here and not in "initialize", which `monai.bundle.load` runs wherever it is called from.
        "run": [
            "$@network.load_state_dict(torch.load(@checkpoint, map_location=@device, weights_only=True))",
            "$@network.eval()",
            "$@evaluator.run()",
        ],
    }


def _metadata(model: PretrainedModel, name: str) -> dict[str, Any]:
    low, high = model.preprocessing.values
    patch = {"spatial_shape": _patch(model), "dtype": "float32", "is_patch_data": True}
    named, first = found_names(model.class_names), "background" if model.num_classes == 1 else "class 0"
    channels = {"0": model.class_names[0] if model.num_classes > 1 and model.class_names else first}
    for number in range(1, max(model.num_classes, 2)):
        channels[str(number)] = named[number - 1] if named else f"class {number}"
    return {
        "schema": _SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"written by sg_hub {__version__}"},
        "name": name,
        "monai_version": _version("monai"),
        "pytorch_version": _version("torch"),
        "numpy_version": _version("numpy"),
        "required_packages_version": {"sg_hub": __version__, "nibabel": _version("nibabel")},
        "task": f"segmentation of {', '.join(model.class_names) or f'{model.num_classes} classes'}",
        "description": f"A {type(model).__name__} of sg_hub",
        "authors": "see provenance",
        "copyright": str(model.provenance.get("licence", model.provenance.get("license", "see provenance"))),
        "provenance": model.provenance,
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": model.preprocessing.modality,
                    "modality": model.preprocessing.modality,
                    "num_channels": model.in_chans,
                    "value_range": [low, high],
                    "channel_def": {str(channel): "image" for channel in range(model.in_chans)},
                    **patch,
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": model.num_classes,
                    "value_range": [],
                    "channel_def": channels,
                    **patch,
                }
            },
        },
    }


def _version(package: str) -> str:
    with contextlib.suppress(Exception):
        return version(package)
    return ""


def _readme(model: PretrainedModel, name: str) -> str:
    names = ", ".join(model.class_names) or f"{model.num_classes} classes"
    return (
        f"# {name}\n\nA {type(model).__name__} of sg_hub: segmentation of {names}. Scans may be in any orientation and "
        "spacing; label maps come back on their grids.\n\n"
        "    pip install 'sg_hub[monai]'\n"
        f"    python -m monai.bundle run --config_file {name}/configs/inference.json --bundle_root {name} "
        "--dataset_dir scans --output_dir labels\n\n"
        f"Where the weights come from: `{json.dumps(model.provenance, ensure_ascii=False)}`"
    )
