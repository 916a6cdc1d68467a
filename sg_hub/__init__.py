"""Pretrained weights of Semantic Genesis for medical images, in 3D and 2D.

import sg_hub

scan = sg_hub.load_scan("ct.nii.gz")
model = sg_hub.from_pretrained("semantic-genesis-3d-tiny", head="segmentation", num_classes=3)
labels = sg_hub.predict(model, scan, output="labels")
"""

from sg_hub.errors import InvalidInputError, ReadError, SgHubError

__version__ = "0.1.0"

from sg_hub.conversion.convert import convert
from sg_hub.hub.registry import PretrainedWeights, get_weights, list_models
from sg_hub.inference.predict import embed, predict
from sg_hub.io.image import Image, load_image
from sg_hub.io.scan import Scan, load_scan
from sg_hub.models import LoadReport, PretextOutput, SemanticGenesis2D, SemanticGenesis3D, from_pretrained
from sg_hub.preprocessing.image_preprocessing import ImagePreprocessing
from sg_hub.preprocessing.scan_preprocessing import Preprocessing

__all__ = [
    "Image",
    "ImagePreprocessing",
    "InvalidInputError",
    "LoadReport",
    "Preprocessing",
    "PretextOutput",
    "PretrainedWeights",
    "ReadError",
    "Scan",
    "SemanticGenesis2D",
    "SemanticGenesis3D",
    "SgHubError",
    "convert",
    "embed",
    "from_pretrained",
    "get_weights",
    "list_models",
    "load_image",
    "load_scan",
    "predict",
]
