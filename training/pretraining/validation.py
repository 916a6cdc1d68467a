"""What the method measures on the validation patients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..methods.protocol import Batch, Method, Views
from ..run.precision import sum_type
from ..run.processes.process_group import Process
from ..run.seeds import generator
from .inputs import Reader


@torch.no_grad()  # sharded networks go on training with what they put together here
def validate(
    method: Method,
    forward: Callable[[Views], dict[str, Tensor]],
    reader: Reader,
    size: int,
    seed: int,
    me: Process,
    draw: Callable[[Batch], None] | None,
) -> dict[str, float]:
    """Means of losses and scores over all cubes; every epoch sees the same cubes with the same corruptions.

    Args:
        forward: the network in evaluation mode, in the precision of the training.
        size: cubes of a batch.
        draw: draws the first batch.
    """
    length = len(reader.data)
    batches = [list(range(i, min(i + size, length))) for i in range(0, length, size)]
    # A process for which none is left takes the first, without counting it, so that all know what is measured.
    mine = list(range(me.rank, len(batches), me.world)) or [0]
    sums: dict[str, Tensor] = {}
    kind = sum_type(me.device)
    for number, batch in zip(mine, reader.read([batches[i] for i in mine]), strict=True):
        views = method.views(batch, generator(me.device, seed, "validation", number))
        outputs = forward(views)
        scores = {key: value.float().mean() for key, value in method.scores(outputs, views).items()}
        weight = len(batch.cubes) if number % me.world == me.rank else 0
        for key, value in (scores | method.losses(outputs, views.targets)).items():
            sums[key] = sums.get(key, 0.0) + value.to(kind) * weight
        sums[""] = sums.get("", 0.0) + torch.tensor(float(weight), dtype=kind, device=me.device)
        if number == 0 and me.is_main and draw is not None:
            draw(batch)
    names = sorted(sums)  # the number of cubes is the first
    count, *totals = me.sum(torch.stack([sums[name] for name in names])).tolist()
    return {f"validation_{name}": total / count for name, total in zip(names[1:], totals, strict=True)}
