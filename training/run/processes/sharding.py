"""A network whose weights, gradients and optimiser states are divided among the processes (torch's FSDP2), and its
states as those of a whole network: a checkpoint does not tell whether it was written by a sharded run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def shard(network: nn.Module, device: torch.device, world: int) -> None:
    """Divide a network among all processes, in place; its parts are put together for each forward and backward pass.

    To be done before its optimiser is made, in all processes.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # FSDP2 takes no other
    fully_shard(network, mesh=init_device_mesh(device.type, (world,)))


def is_sharded(module: nn.Module) -> bool:
    return any(_is_divided(parameter) for parameter in module.parameters())


def local(value: Tensor) -> Tensor:
    """This process's part of a tensor; of what is not divided, the tensor."""
    return value.to_local() if _is_divided(value) else value  # type: ignore[attr-defined]


def whole(state: Any) -> Any:
    """A state with every divided tensor put together, in all processes at once; the others stay as they are."""
    if _is_divided(state):
        return state.full_tensor().cpu()
    if isinstance(state, Mapping):
        return {key: whole(value) for key, value in state.items()}
    if isinstance(state, list):
        return [whole(value) for value in state]
    return state


def divided(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The whole state of a network, as this one takes it."""
    now = network.state_dict()
    return {key: _as(now[key], value) if key in now else value for key, value in state.items()}


def divided_optimizer(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The whole state of an optimiser, as this one takes it."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    slots = {
        number: {key: _as(parameters[number], value) for key, value in slot.items()}
        for number, slot in state["state"].items()
    }
    return {**state, "state": slots}


def _as(example: Tensor, value: Any) -> Any:
    """Divided as the example is, where it is, and where the value is of its shape."""
    if not _is_divided(example) or value.shape != example.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    divided_example: Any = example
    return distribute_tensor(value.to(example.device), divided_example.device_mesh, divided_example.placements)


def _is_divided(value: Any) -> bool:
    """Where torch's module of such tensors, which is slow to import, was not, there are none."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(value, module.DTensor)
