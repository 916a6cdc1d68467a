import pytest
import torch

from sg_hub import SemanticGenesis3D


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of two models, which differ in their config as well."""
    found = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp("model")
        torch.manual_seed(seed)
        SemanticGenesis3D(width=2, num_classes=5 + seed, norm="batch").save_pretrained(folder)
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
    return found
