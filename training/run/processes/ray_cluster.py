"""Ray, which runs trials of grids and scans of `prepare`: on this machine, or on a cluster that sees the same files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sg_hub.errors import InvalidInputError

RETRIES = 1
"""Of a task whose process died: a machine that was taken away is no fault of the task."""


def require_ray() -> None:
    """Say at once that Ray is not installed.

    Raises:
        InvalidInputError
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report what it runs to its makers
    try:
        import ray  # noqa: F401
    except ImportError:
        raise InvalidInputError("--ray needs Ray: pip install 'ray>=2.40' (or run without it)") from None


@contextmanager
def ray_cluster(address: str | None, threads: int = 1) -> Iterator[Any]:
    """Ray's module, connected.

    Args:
        address: of a running cluster, or `auto`; absent: this machine alone.
        threads: of each task.

    Raises:
        InvalidInputError: no such cluster.
    """
    require_ray()
    import ray

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
        yield ray
    finally:
        ray.shutdown()


def enter(folder: str) -> None:
    """In a task: go to the folder in which the command was given, for the sake of relative paths."""
    if os.path.isdir(folder):
        os.chdir(folder)
