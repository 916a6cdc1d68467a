"""The functions that torch.hub offers (see hubconf.py): one per model, and its encoder alone.

Weights of others in the architecture of one of these are given by `name`; any encoder of timm by `semantic_genesis_2d`.
"""

from sg_hub.torch_hub.dense_contrast import (
    dense_contrast_2d_tiny,
    dense_contrast_2d_tiny_encoder,
    dense_contrast_3d_chest_tiny,
    dense_contrast_3d_chest_tiny_encoder,
    dense_contrast_3d_small,
    dense_contrast_3d_small_encoder,
    dense_contrast_3d_tiny,
    dense_contrast_3d_tiny_encoder,
)
from sg_hub.torch_hub.published import (
    dense_vnet,
    dense_vnet_encoder,
    i3d,
    i3d_encoder,
    medicalnet,
    medicalnet_encoder,
    res_enc_unet,
    res_enc_unet_encoder,
    segresnet,
    segresnet_encoder,
)
from sg_hub.torch_hub.semantic_genesis import (
    semantic_genesis_2d,
    semantic_genesis_2d_encoder,
    semantic_genesis_2d_tiny,
    semantic_genesis_2d_tiny_encoder,
    semantic_genesis_3d,
    semantic_genesis_3d_encoder,
    semantic_genesis_3d_tiny,
    semantic_genesis_3d_tiny_encoder,
)

__all__ = [
    "dense_contrast_2d_tiny",
    "dense_contrast_2d_tiny_encoder",
    "dense_contrast_3d_chest_tiny",
    "dense_contrast_3d_chest_tiny_encoder",
    "dense_contrast_3d_small",
    "dense_contrast_3d_small_encoder",
    "dense_contrast_3d_tiny",
    "dense_contrast_3d_tiny_encoder",
    "dense_vnet",
    "dense_vnet_encoder",
    "i3d",
    "i3d_encoder",
    "medicalnet",
    "medicalnet_encoder",
    "res_enc_unet",
    "res_enc_unet_encoder",
    "segresnet",
    "segresnet_encoder",
    "semantic_genesis_2d",
    "semantic_genesis_2d_encoder",
    "semantic_genesis_2d_tiny",
    "semantic_genesis_2d_tiny_encoder",
    "semantic_genesis_3d",
    "semantic_genesis_3d_encoder",
    "semantic_genesis_3d_tiny",
    "semantic_genesis_3d_tiny_encoder",
]
