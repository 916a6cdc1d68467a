"""Scans into the store by Ray: each is a task, on this machine or on a cluster that sees the same files."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

from sg_hub.errors import SgHubError

from ..run.processes.ray_cluster import RETRIES, enter, ray_cluster, require_ray
from ..run.recipe import Prepare
from .convert import KILLED, Converter, convert, one_thread
from .items import Item
from .store_files import StoredItem

AHEAD = 4
"""Tasks that are handed to Ray for each core, at most: its memory does not grow with the number of scans."""


def engine(address: str | None = None) -> Converter:
    """A converter for `training.data.prepare`: a core for each scan.

    Args:
        address: of a running cluster, or `auto`; absent: this machine alone.

    Raises:
        InvalidInputError: Ray is not installed.
    """
    require_ray()

    def run(settings: Prepare, url: str, items: list[Item]) -> Generator[tuple[Item, StoredItem | str], None, None]:
        if not items:
            return
        with ray_cluster(address) as ray:
            remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_convert)
            ahead = max(1, AHEAD * int(ray.cluster_resources().get("CPU", 1)))
            left, running = iter(items), dict[Any, Item]()
            while True:
                for item in left:
                    running[remote.remote(item, url, settings, os.getcwd())] = item
                    if len(running) >= ahead:
                        break
                if not running:
                    return
                ready, _ = ray.wait(list(running), num_returns=1)
                item = running.pop(ready[0])
                try:
                    yield item, ray.get(ready[0])
                except ray.exceptions.RayTaskError as error:
                    if isinstance(error.cause, SgHubError):  # the store cannot be written
                        raise error.cause from None
                    raise
                except ray.exceptions.RayError:  # each of its processes died
                    yield item, KILLED

    return run


def _convert(item: Item, url: str, settings: Prepare, folder: str) -> StoredItem | str:
    enter(folder)
    one_thread()
    return convert(item, url, settings)
