import pytest
import torch

from sg_hub import convert
from tests.sg_hub.conversion.published import checkpoint, filled


@pytest.fixture(scope="module")
def state():
    return filled()


@pytest.fixture(scope="module")
def converted(state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    torch.save(checkpoint(state), folder / "semantic_genesis_chest_ct.pt")
    return convert(folder / "semantic_genesis_chest_ct.pt", folder / "model")
