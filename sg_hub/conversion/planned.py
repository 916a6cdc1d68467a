"""Networks of registered names without memory: also of weights that a user has to convert first."""

from __future__ import annotations

import torch

from sg_hub.conversion.release import release_of
from sg_hub.hub.registry import get_weights, is_registered
from sg_hub.models.base import PretrainedModel
from sg_hub.models.registry import planned


def planned_network(name: str) -> PretrainedModel:
    """The network that a registered name, or timm's (`timm:NAME`), has or would have once it was converted.

    Raises:
        SgHubError: no such name, or the package of its network is not installed.
    """
    if not is_registered(name) or (weights := get_weights(name)).release is None:
        return planned(name)
    release = release_of(weights.release)
    with torch.device("meta"):
        model: PretrainedModel = release.build({}, release.norms[0], release.provenance())
        if weights.settings is None:
            return model
        config = model.config() | weights.settings | {"preprocessing": model.preprocessing}
        return type(model)(**config)
