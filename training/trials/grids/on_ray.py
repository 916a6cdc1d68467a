"""Trials of the grid side by side on Ray: on this machine, or on a cluster that sees the same files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from sg_hub.errors import InvalidInputError, SgHubError

from ...run.processes.ray_cluster import RETRIES, enter, ray_cluster, require_ray
from ..task.prepared_task import PreparedTask
from ..trial import Trial
from .grid import Engine, Failure, Finished, Result, result_of


def engine(cpus: float = 1, gpus: float = 0, address: str | None = None, device: str = "auto") -> Engine:
    """An engine for `training.trials.grids.benchmark`: each trial takes a share of the CPU cores and GPUs.

    Args:
        cpus, gpus: of one trial; a GPU can be shared (0.25).
        address: of a running cluster, or `auto`; absent: this machine alone.
        device: of each trial, where it runs.

    Raises:
        InvalidInputError: Ray is not installed.
    """
    require_ray()

    def run(trials: list[Trial], finished: Finished) -> list[Failure]:
        failed: list[Failure] = []
        threads = max(1, int(cpus))
        with ray_cluster(address, threads) as ray:
            _check_resources(ray.cluster_resources(), cpus, gpus)
            remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(_result)
            tasks = {key: ray.put(task) for key, task in {trial.task.key: trial.task for trial in trials}.items()}
            waiting: dict[Any, Trial] = {
                # the items of a task travel once, not with every trial
                remote.remote(tasks[t.task.key], replace(t, task=None), device, threads, os.getcwd()): t  # type: ignore[arg-type]
                for t in trials
            }
            while waiting:
                ready, _ = ray.wait(list(waiting), num_returns=1)
                trial = waiting.pop(ready[0])
                try:
                    result = ray.get(ready[0])
                except ray.exceptions.RayTaskError as error:
                    if not isinstance(error.cause, (SgHubError, RuntimeError)):
                        raise
                    failed.append((trial, error.cause))
                except ray.exceptions.RayError as error:  # its process died
                    failed.append((trial, error))
                else:
                    finished(trial, result)
                    continue
                print(f"{trial} failed: {failed[-1][1]}", flush=True)
        return failed

    return run


def _check_resources(there: Mapping[str, float], cpus: float, gpus: float) -> None:
    """Refuse trials that no machine of the cluster could ever run.

    Raises:
        InvalidInputError: more is asked for than there is.
    """
    for name, asked in (("CPU", cpus), ("GPU", gpus)):
        if asked > there.get(name, 0):
            raise InvalidInputError(
                f"--{name.lower()}s-per-trial {asked:g}: the cluster has {there.get(name, 0):g} {name}s in all"
            )


def _result(task: PreparedTask, trial: Trial, device: str, threads: int, folder: str) -> Result:
    enter(folder)
    torch.set_num_threads(threads)
    return result_of(replace(trial, task=task), device=device, progress=False)
