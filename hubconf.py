"""Entry points of torch.hub: torch.hub.load("OWNER/sg_hub", "semantic_genesis_3d_tiny", pretrained=True)."""

dependencies = ["torch", "huggingface_hub", "safetensors", "timm", "numpy", "SimpleITK", "jinja2", "PIL", "tqdm"]

from sg_hub.torch_hub import *  # noqa: E402, F403
