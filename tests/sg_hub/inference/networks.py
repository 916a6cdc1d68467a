"""Small networks and scans whose results are known."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sg_hub import Image, ImagePreprocessing, SemanticGenesis2D
from sg_hub.io.scan import Scan
from sg_hub.models import SemanticGenesis3D
from sg_hub.preprocessing.preprocessing import Preprocessing

PATCH = (8, 8, 8)


class Output(NamedTuple):
    restoration: Tensor
    pattern_logits: Tensor


class Identity(nn.Module):
    """Gives back what it gets, as a pretext head would."""

    head_name = "pretext"

    def __init__(self, **settings) -> None:
        super().__init__()
        self.preprocessing = Preprocessing(input_size=PATCH, **settings)
        self.seen = 0

    def forward(self, x: Tensor) -> Output:
        assert not self.training
        assert torch.is_inference_mode_enabled()
        self.seen += len(x)
        return Output(x, x.new_zeros(len(x), 1))


class Bands(nn.Module):
    """Logits that are a function of each voxel alone: class k where the value is about k / (classes - 1)."""

    head_name = "segmentation"

    def __init__(self, classes: int, **settings) -> None:
        super().__init__()
        self.classes = classes
        self.preprocessing = Preprocessing(input_size=PATCH, **settings)

    def forward(self, x: Tensor) -> Tensor:
        if self.classes == 1:
            return 20 * (x - 0.5)
        centres = torch.linspace(0, 1, self.classes).view(1, -1, 1, 1, 1)
        return -((x - centres) ** 2) * 4 * self.classes**2


class Textures(nn.Module):
    """An encoder whose two maps say what the few voxels around each place look like, and no more."""

    head_name = "features"

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.preprocessing, self.in_chans = Preprocessing(input_size=PATCH), 1
        self.encoder = nn.Module()
        self.encoder.strides, self.encoder.channels = (1, 2), (channels, channels)
        filters = torch.randn(channels, 1, 5, 5, 5, generator=torch.Generator().manual_seed(0))
        self.encoder.register_buffer("filters", filters - filters.mean((2, 3, 4), keepdim=True))
        self.encoder.forward = self._features

    def _features(self, x: Tensor) -> list[Tensor]:
        return [F.conv3d(y, self.encoder.filters, padding=2) for y in (x, F.avg_pool3d(x, 2))]


def make_scan(size=(19, 14, 23), spacing=(1.0, 1.0, 1.0), seed=0, smooth=False) -> Scan:
    generator = torch.Generator().manual_seed(seed)
    if smooth:
        values = torch.rand(1, 1, 4, 4, 4, generator=generator)
        values = F.interpolate(values, size, mode="trilinear", align_corners=True)[0]
    else:
        values = torch.rand(1, *size, generator=generator)
    return Scan((values * 2000 - 1000).numpy(), spacing=spacing)


def make_model(**settings) -> SemanticGenesis3D:
    torch.manual_seed(0)
    settings = {"width": 2, "num_classes": 3, "norm": "batch"} | settings
    return SemanticGenesis3D(**settings, preprocessing=Preprocessing(input_size=(16, 16, 16)))


def make_2d(**settings) -> SemanticGenesis2D:
    torch.manual_seed(0)
    settings = {"encoder": "test_resnet", "decoder_width": 2, "num_classes": 3} | settings
    return SemanticGenesis2D(**settings, preprocessing=ImagePreprocessing(input_size=(64, 64)))


def make_image(size=(48, 100), seed=0) -> Image:
    return Image(torch.rand(1, *size, generator=torch.Generator().manual_seed(seed)).numpy())
