"""Pre-training that goes on from trained weights."""

from __future__ import annotations

from typing import Any

from sg_hub import from_pretrained
from sg_hub.errors import InvalidInputError

from ..data.provenance import said_of, with_seen
from ..data.store import Store
from ..discovery.located import check_takes, said_of_weights
from ..methods.protocol import Network
from ..run.recipe import Recipe


class Start:
    """The weights that `pretrain.weights` names.

    Raises:
        InvalidInputError: another architecture, scans that are stored otherwise than the weights expect them, or test
            patients that the weights have seen.
        ReadError: no such weights.
    """

    def __init__(self, recipe: Recipe, store: Store) -> None:
        self._weights_name = recipe.pretrain.weights
        self._name = f"pretrain.weights = {recipe.pretrain.weights}"
        self._weights: Any = from_pretrained(recipe.pretrain.weights)
        is_one = type(self._weights).__name__
        if is_one != recipe.model.architecture:
            raise InvalidInputError(f"{self._name}: they are a {is_one}, and [model] is a {recipe.model.architecture}")
        check_takes(self._weights, store, said_of(recipe, store).dataset, self._name)
        self.said = said_of_weights(self._weights)
        """Which they are, and whom they have seen."""
        self.sha256 = str(self.said["sha256"])

    def give(self, network: Network) -> None:
        """Give a network these weights: its encoder whole, and of the rest what fits. From then on it says that it has
        seen whom they have seen.

        Raises:
            InvalidInputError: another encoder.
        """
        start, model = self._weights, network.model
        given, own = start.state_dict(), model.state_dict()
        fits = {key: value for key, value in given.items() if key in own and value.shape == own[key].shape}
        others = sorted(key for key in given.keys() | own.keys() if key.startswith("encoder.") and key not in fits)
        norms = [one.config().get("norm") for one in (start, model)]
        if others or norms[0] != norms[1]:
            what = f"{others[0]} and {len(others) - 1} more tensors" if others else f"norm={norms[0]!r}"
            raise InvalidInputError(
                f"{self._name}: their encoder is another ({what} of one of the two): set [model] to what they "
                "are, such as model.width and model.norm"
            )
        model.load_state_dict(fits, strict=False)
        model.provenance = with_seen(model.provenance, [self.said])
        fresh = sorted({key.partition(".")[0] for key in own.keys() - fits.keys()})
        random = f"; random: {', '.join(fresh)}" if fresh else ""
        print(f"starting from {self._weights_name}{random}", flush=True)
