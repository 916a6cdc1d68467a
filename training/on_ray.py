"""Cells of a grid side by side on Ray: on this machine, or on a cluster that sees the same files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import torch

from sg_hub.errors import InvalidInputError, SgHubError
from training.benchmark import Cell, run_cell
from training.results import Row

Finished = Callable[[Row, dict[str, bytes]], None]


def engine(cpus: float = 1, gpus: float = 0, address: str | None = None) -> Callable[[list[Cell], Finished], None]:
    """An engine for `training.benchmark`: each trial takes a share of the CPU cores and GPUs.

    Args:
        cpus, gpus: of one trial; a GPU can be shared (0.25).
        address: of a running cluster, or `auto`; absent: this machine alone.

    Raises:
        InvalidInputError: Ray is not installed.
    """
    try:
        import ray
    except ImportError:
        raise InvalidInputError("--ray needs Ray: pip install 'ray>=2.40' (or run without it)") from None

    def run(cells: list[Cell], finished: Finished) -> None:
        threads = str(max(1, int(cpus)))
        paths = os.pathsep.join(path for path in (os.getcwd(), *sys.path) if path)
        environment = {"PYTHONPATH": paths, "OMP_NUM_THREADS": threads}
        ray.init(address=address, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": environment})
        try:
            task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=1)(_cell)
            waiting: dict[Any, Cell] = {task.remote(cell, int(threads)): cell for cell in cells}
            while waiting:
                ready, _ = ray.wait(list(waiting), num_returns=1)
                cell = waiting.pop(ready[0])
                try:
                    finished(*ray.get(ready[0]))
                except ray.exceptions.RayTaskError as error:
                    cause = error.cause if isinstance(error.cause, SgHubError) else None
                    raise cause or error from None
                except ray.exceptions.RayError as error:
                    text = str(error).strip().splitlines()[0]
                    raise SgHubError(
                        f"{cell}: its process died ({text}); start the same command again to go on"
                    ) from error
        finally:
            ray.shutdown()

    return run


def _cell(cell: Cell, threads: int) -> tuple[Row, dict[str, bytes]]:
    torch.set_num_threads(threads)
    return run_cell(cell, progress=False)
