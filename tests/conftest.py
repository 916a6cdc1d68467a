import os

import pytest
import torch

from tests.hub_user import hub, offline_user, repo_id, user  # noqa: F401

# No test may reach a hub, or read this user's cache.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def _one_thread():
    """Small networks are quicker on one thread, and results do not depend on the machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
