"""nnU-Net: plans and weights that its fine-tuning takes (`nnUNetv2_train ... -p sgHubPlans -pretrained_weights ...`).

nnU-Net's own networks cannot hold these weights: its U-Net goes down by strided convolutions and halves the channels on
the way up, those here pool and do not, so neither names nor shapes agree. But its plans name the class of the network.
They name `NnunetNetwork`, which is one of sg_hub's with nnU-Net's deep supervision; sg_hub has to be installed beside
nnU-Net. Everything that concerns the data set stays as nnU-Net planned it.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.io.files import given_path, write_atomic
from sg_hub.models import PretrainedModel
from sg_hub.models.input_checks import per_axis
from sg_hub.models.registry import build
from sg_hub.models.unet import CONVOLUTION, UNetDecoder
from sg_hub.models.wrapped import unwrapped
from sg_hub.preprocessing.preprocessing import Preprocessing

PLANS = "sgHubPlans"
WEIGHTS = "sgHubWeights.pth"
CONFIGURATION = "3d_fullres"
_THEIRS = ("nnUNetPlans.json", "dataset.json")
_READER = "NibabelIOWithReorient"
"""Of nnU-Net's readers the one that turns every scan the same way, into RAS."""
_ENDINGS = (".nii.gz", ".nii")
_STORED = (0, 1, 2)


class NnunetNetwork(nn.Module):
    """A network of sg_hub as nnU-Net builds it from plans.

    It takes and gives arrays as nnU-Net has them, (N, C, z, y, x) in RAS, and turns them for the network, which sees
    (N, C, x, y, z) in LPS as everywhere in sg_hub.

    Args:
        input_channels, num_classes: of the data set.
        config: `architecture` and the settings of its family.
        strides: of each level over the one before, (z, y, x); nnU-Net computes the sizes of its targets by them.
        deep_supervision: give the logits of every level but the deepest, finest first; else those of the finest alone.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        config: Mapping[str, Any],
        strides: Sequence[Sequence[int]] = (),
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        shared = {"in_chans": input_channels, "num_classes": num_classes, "head": "segmentation"}
        model = build({**config, **shared})
        self.encoder = model.encoder
        self.decoder = _Decoder(model.decoder, num_classes, deep_supervision)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits (N, num_classes, z, y, x) of (N, input_channels, z, y, x); with deep supervision a list of them."""
        in_lps = x.permute(0, 1, 4, 3, 2).flip((2, 3))
        logits = [level.flip((2, 3)).permute(0, 1, 4, 3, 2) for level in self.decoder(self.encoder(in_lps))]
        return logits if self.decoder.deep_supervision else logits[0]


class _Decoder(nn.Module):
    """A decoder with a layer of logits at every level but the deepest."""

    def __init__(self, body: UNetDecoder, num_classes: int, deep_supervision: bool) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision  # which nnU-Net switches
        self.body = body
        # nnU-Net starts what is called so afresh: it belongs to the classes.
        self.seg_layers = nn.ModuleList(CONVOLUTION[3](width, num_classes, 1) for width in body.channels[:-1])

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        maps = self.body.maps(features)[:-1]
        used = len(maps) if self.deep_supervision else 1
        return [layer(level) for layer, level in zip(list(self.seg_layers)[:used], maps[:used], strict=True)]


def export_nnunet(model: PretrainedModel, folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write `sgHubPlans.json` and `sgHubWeights.pth` for a data set of nnU-Net.

    Args:
        model: of scans, with a decoder (head `segmentation`, `pretext` or `restoration`); in_chans as the data set has
            channels.
        folder: of the data set below nnUNet_preprocessed, as `nnUNetv2_plan_and_preprocess -d ID --no_pp` makes it.

    Returns:
        the files of the plans and of the weights.

    Raises:
        InvalidInputError: another model, other channels, files that are not NIfTI, or values that nnU-Net cannot
            normalise as the weights expect them (percentiles), scans resized as a whole, or a spacing that neither the
            weights nor the plans say along x, y and z.
        ReadError: the folder has no plans of nnU-Net, or cannot be written.
    """
    model = unwrapped(model)
    decoder, preprocessing = getattr(model, "decoder", None), model.preprocessing
    if not isinstance(preprocessing, Preprocessing) or not isinstance(decoder, UNetDecoder):
        raise InvalidInputError(
            f"a {model.NDIM}D {type(model).__name__} with a {model.head_name} head: nnU-Net takes networks of scans "
            'with the decoder of a U-Net; load it with from_pretrained(name, head="segmentation", num_classes=2)'
        )
    place = given_path(folder, "the data set's folder below nnUNet_preprocessed")
    theirs, dataset = (_read(place / name) for name in _THEIRS)
    channels = len(dataset.get("channel_names", dataset.get("modality", {})))
    if channels != model.in_chans:
        raise InvalidInputError(
            f"{place} has {channels} channels, the model in_chans={model.in_chans}: load it with "
            f"from_pretrained(..., in_chans={channels})"
        )
    if dataset.get("file_ending") not in _ENDINGS:
        raise InvalidInputError(
            f"{place}: file_ending {dataset.get('file_ending')!r}; nnU-Net turns NIfTI alone into one orientation, and "
            "the weights need one: convert the data set to .nii.gz"
        )
    plans = _plans(model, preprocessing, theirs, place)
    names = {key: value for key, value in model.config().items() if key in type(model).SETTINGS}
    config = {"architecture": type(model).__name__, **names}
    strides = _strides(model)
    architecture = {
        "network_class_name": f"{__name__}.NnunetNetwork",
        "arch_kwargs": {"config": config, "strides": strides},
        "_kw_requires_import": [],
    }
    plans["configurations"][CONFIGURATION]["architecture"] = architecture
    network = NnunetNetwork(model.in_chans, 2, config, strides)
    network.encoder.load_state_dict(model.encoder.state_dict())
    network.decoder.body.load_state_dict(decoder.state_dict())
    written = io.BytesIO()
    torch.save({"network_weights": {key: value.cpu() for key, value in network.state_dict().items()}}, written)
    paths = place / f"{PLANS}.json", place / WEIGHTS
    write_atomic(paths[1], written.getvalue())
    write_atomic(paths[0], json.dumps(plans, indent=2) + "\n")
    return paths


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReadError(
            f"{path} is not there: give the data set's folder below nnUNet_preprocessed, and plan it first "
            "(nnUNetv2_plan_and_preprocess -d ID --no_pp)"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{path} cannot be read ({shortened(error, 160)})") from error
    if not isinstance(found, dict):
        raise ReadError(f"{path} holds no settings: plan the data set again")
    return found


def _plans(
    model: PretrainedModel, preprocessing: Preprocessing, theirs: Mapping[str, Any], place: Path
) -> dict[str, Any]:
    """nnU-Net's plans of the data set, with what the weights decide."""
    scheme, properties = _normalisation(preprocessing)
    _check_grid(preprocessing, str(theirs.get("image_reader_writer")), place)
    try:
        own = dict(theirs["configurations"][CONFIGURATION])
        back = theirs["transpose_backward"]
        spacing = [float(own["spacing"][axis]) for axis in back]
        shape = [float(own["median_image_size_in_voxels"][axis]) for axis in back]
        own_spacing = [float(theirs["original_median_spacing_after_transp"][axis]) for axis in back]
        own_shape = [int(theirs["original_median_shape_after_transp"][axis]) for axis in back]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ReadError(
            f"{place / _THEIRS[0]} are no plans with the configuration {CONFIGURATION} ({shortened(repr(error), 80)}): "
            "plan the data set again"
        ) from error
    if preprocessing.spacing is not None:
        wanted = list(preprocessing.spacing[::-1])
        shape = [side * have / want for side, have, want in zip(shape, spacing, wanted, strict=True)]
        spacing = wanted
    steps = per_axis(model.encoder.strides[-1], 3)
    patch = [-(-side // step) * step for side, step in zip(preprocessing.input_size, steps, strict=True)][::-1]
    own |= {
        "data_identifier": f"{PLANS}_{CONFIGURATION}",
        "spacing": spacing,
        "patch_size": patch,
        "median_image_size_in_voxels": shape,
        "normalization_schemes": [scheme] * model.in_chans,
        "use_mask_for_norm": [False] * model.in_chans,
    }
    given = theirs.get("foreground_intensity_properties_per_channel", {})
    values = {str(channel): dict(given.get(str(channel), {})) | properties for channel in range(model.in_chans)}
    return {
        **theirs,
        "dataset_name": place.resolve().name,
        "plans_name": PLANS,
        "image_reader_writer": _READER,
        "transpose_forward": list(_STORED),
        "transpose_backward": list(_STORED),
        "original_median_spacing_after_transp": own_spacing,
        "original_median_shape_after_transp": own_shape,
        "configurations": {CONFIGURATION: own},
        "foreground_intensity_properties_per_channel": values,
    }


def _check_grid(preprocessing: Preprocessing, reader: str, place: Path) -> None:
    """Refuse weights whose grid nnU-Net cannot make, or does not know.

    Args:
        reader: with which nnU-Net planned the data set.
    """
    if preprocessing.size is not None:
        raise InvalidInputError(
            f"the weights expect every scan resized to {preprocessing.size} voxels, and nnU-Net resamples to a "
            "spacing; those with a spacing, or that keep each scan's own, can be exported"
        )
    if preprocessing.spacing is None and reader != _READER:
        raise InvalidInputError(
            f"the weights keep each scan's own spacing, and {place / _THEIRS[0]} has spacings along the files' own "
            f'axes (by {reader}), not along x, y and z: write "overwrite_image_reader_writer": "{_READER}" into the '
            "dataset.json below nnUNet_raw, and plan again (nnUNetv2_plan_and_preprocess -d ID --no_pp --clean)"
        )


def _normalisation(preprocessing: Preprocessing) -> tuple[str, dict[str, float]]:
    """nnU-Net's scheme, and the numbers with which it gives what the weights expect.

    CTNormalization clips to two values, subtracts a third and divides by a fourth: a window is one of its cases.
    """
    low, high = preprocessing.low, preprocessing.high
    if preprocessing.intensity == "window":
        return "CTNormalization", {"percentile_00_5": low, "percentile_99_5": high, "mean": low, "std": high - low}
    raise InvalidInputError(
        f"the weights expect intensities by {preprocessing.intensity} (percentile and zscore as reckoned here), for "
        "which nnU-Net has no normalisation; those with a window can be exported"
    )


def _strides(model: PretrainedModel) -> list[list[int]]:
    """Of each level over the one before, (z, y, x), from the size of the input on."""
    levels = [per_axis(stride, 3) for stride in model.encoder.strides]
    if max(levels[0]) > 1:  # the decoder goes on to the input's size
        levels.insert(0, (1, 1, 1))
    before = [(1, 1, 1), *levels[:-1]]
    return [[b // a for a, b in zip(one, other, strict=True)][::-1] for one, other in zip(before, levels, strict=True)]
