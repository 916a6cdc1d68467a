"""Pre-training that goes on from trained weights."""

from __future__ import annotations

from typing import Any

from sg_hub import from_pretrained
from sg_hub.errors import InvalidInputError

from ..data.provenance import with_seen
from ..data.store import Store
from ..discovery.located import check_takes, said_of_weights
from ..methods.protocol import Network
from ..run.recipe import Recipe


def start_from(recipe: Recipe, store: Store, network: Network) -> None:
    """Give a network the weights that `pretrain.weights` names, as far as they fit: its encoder whole. From then on it
    says that it has seen whom these have seen.

    Raises:
        InvalidInputError: another architecture, or scans that are stored otherwise than the weights expect them.
        ReadError: no such weights.
    """
    said = f"pretrain.weights = {recipe.pretrain.weights}"
    start: Any = from_pretrained(recipe.pretrain.weights)
    model: Any = network.model
    if type(start) is not type(model):
        raise InvalidInputError(f"{said}: they are a {type(start).__name__}, and [model] is a {type(model).__name__}")
    check_takes(start, store, recipe.publish.dataset, said)
    given, own = start.state_dict(), model.state_dict()
    fits = {key: value for key, value in given.items() if key in own and value.shape == own[key].shape}
    missing = [key for key in own if key.startswith("encoder.") and key not in fits]
    if missing:
        raise InvalidInputError(
            f"{said}: their encoder is another ({missing[0]} and {len(missing) - 1} more do not fit): set [model] to "
            "what they are, such as model.width"
        )
    model.load_state_dict(fits, strict=False)
    model.provenance = with_seen(model.provenance, [said_of_weights(start)])
    fresh = sorted({key.partition(".")[0] for key in own.keys() - fits.keys()})
    print(f"starting from {recipe.pretrain.weights}" + (f"; random: {', '.join(fresh)}" if fresh else ""), flush=True)
