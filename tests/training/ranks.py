"""Processes that stand for those of torchrun, of one fork server that has imported all: they start at once."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

from tests.folders import ROOT

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.training.ranks", "training.pretraining.autoencode", "training.data.prepare"])


def run_ranks(world: int, work: Callable[..., Any], *arguments: Any) -> list[tuple[int, str]]:
    """Run `work(*arguments)` in each of `world` processes of one run; their exit codes, and what they raised.

    `work` is a function of a module, that can be pickled.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    queue = _FORKS.SimpleQueue()
    ranks = [_FORKS.Process(target=_rank, args=(r, world, port, queue, work, arguments)) for r in range(world)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(120)
        if rank.is_alive():
            rank.kill()
            rank.join()
    said = {}
    while not queue.empty():
        number, text = queue.get()
        said[number] = text
    return [(rank.exitcode, said.get(number, "")) for number, rank in enumerate(ranks)]


def _rank(rank: int, world: int, port: int, queue: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    try:
        work(*arguments)
    except BaseException as error:
        queue.put((rank, f"{type(error).__name__}: {error}"))
        traceback.print_exc()
        os._exit(1)
