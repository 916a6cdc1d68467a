"""Trials of the grid side by side on Ray: on this machine, or on a cluster that sees the same files."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from sg_hub.errors import InvalidInputError, SgHubError

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
    try:
        import ray
    except ImportError:
        raise InvalidInputError("--ray needs Ray: pip install 'ray>=2.40' (or run without it)") from None

    def run(trials: list[Trial], finished: Finished) -> list[Failure]:
        failed: list[Failure] = []
        threads = max(1, int(cpus))
        paths = os.pathsep.join(path for path in (os.getcwd(), *sys.path) if path)
        environment = {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(threads)}
        try:
            ray.init(
                address=address or "local",
                include_dashboard=False,
                log_to_driver=False,
                runtime_env={"env_vars": environment},
            )
        except (ConnectionError, ValueError) as error:
            raise InvalidInputError(f"no Ray cluster at {address!r} ({error}): start one with `ray start`") from error
        try:
            _check_resources(ray.cluster_resources(), cpus, gpus)
            remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=1)(_result)
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
        finally:
            ray.shutdown()
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
    if os.path.isdir(folder):
        os.chdir(folder)  # paths on the command line are relative to where it was given
    torch.set_num_threads(threads)
    return result_of(replace(trial, task=task), device=device, progress=False)
