"""The networks, and how they are loaded and saved."""

from sg_hub.models.base import PretrainedModel
from sg_hub.models.families.semantic_genesis import SemanticGenesis2D, SemanticGenesis3D
from sg_hub.models.heads import PretextOutput
from sg_hub.models.loading import LoadReport
from sg_hub.models.registry import from_pretrained

__all__ = [
    "LoadReport",
    "PretextOutput",
    "PretrainedModel",
    "SemanticGenesis2D",
    "SemanticGenesis3D",
    "from_pretrained",
]
