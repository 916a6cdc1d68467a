"""Entry points of torch.hub: torch.hub.load("OWNER/sg_hub", "semantic_genesis_3d_tiny", pretrained=True)."""

dependencies = ["torch", "huggingface_hub", "safetensors", "timm", "numpy", "SimpleITK", "jinja2", "PIL", "tqdm"]

from sg_hub.torch_hub import (  # noqa: E402
    dense_vnet,
    dense_vnet_encoder,
    i3d,
    i3d_encoder,
    medicalnet,
    medicalnet_encoder,
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
    "dense_vnet",
    "dense_vnet_encoder",
    "i3d",
    "i3d_encoder",
    "medicalnet",
    "medicalnet_encoder",
    "semantic_genesis_2d",
    "semantic_genesis_2d_encoder",
    "semantic_genesis_2d_tiny",
    "semantic_genesis_2d_tiny_encoder",
    "semantic_genesis_3d",
    "semantic_genesis_3d_encoder",
    "semantic_genesis_3d_tiny",
    "semantic_genesis_3d_tiny_encoder",
]
