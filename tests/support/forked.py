"""Processes of their own, to be killed, to work side by side, or to stand for those of torchrun: forks of one that has
imported everything, and has no threads. A fork starts in no time, where a new Python would import torch for seconds."""

import faulthandler
import multiprocessing
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

_FORKS = multiprocessing.get_context("forkserver")
_IMPORTED = ["torch._dynamo", "matplotlib.pyplot", "SimpleITK", "zarr", "sg_hub.cli", "training.cli.parser"]
_IMPORTED += [f"training.pretraining.{name}" for name in ("autoencode", "pretrain")]
_IMPORTED += ["training.data.prepare", "training.discovery.discover", "training.publishing.publish"]
_FORKS.set_forkserver_preload(_IMPORTED)


def forked(
    work: Callable[..., Any], *arguments: Any, said: Path | None = None, environment: Mapping[str, str] | None = None
) -> BaseProcess:
    """A process that does `work`, a function of a module, and has begun.

    Args:
        arguments: of `work`; its result, where it is a number, is the exit status, and `sys.exit` is what it is.
        said: file of what it prints.
        environment: beside that of this process.
    """
    there = {**os.environ, **(environment or {})}
    process = _FORKS.Process(target=_run, args=(work, arguments, said, there, os.getcwd()))
    process.start()
    return process


def ended(work: Callable[..., Any], *arguments: Any, **more: Any) -> int:
    """Exit status of a process as `forked` makes it, when it has ended; a signal's number is negative."""
    process = forked(work, *arguments, **more)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def run_ranks(world: int, work: Callable[..., Any], *arguments: Any) -> list[tuple[int, str]]:
    """Run `work(*arguments)` in each of `world` processes of one run; their exit codes, and what they raised."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    queue = _FORKS.SimpleQueue()
    ranks = [
        forked(_rank, rank, queue, work, arguments, environment={"RANK": str(rank), "LOCAL_RANK": str(rank), **shared})
        for rank in range(world)
    ]
    for process in ranks:
        process.join(120)
        if process.is_alive():
            process.kill()
            process.join()
    said = {}
    while not queue.empty():
        number, text = queue.get()
        said[number] = text
    return [(process.exitcode, said.get(number, "")) for number, process in enumerate(ranks)]


def _rank(rank: int, queue: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        work(*arguments)
    except BaseException as error:
        queue.put((rank, f"{type(error).__name__}: {error}"))
        traceback.print_exc()
        os._exit(1)


def _run(
    work: Callable[..., Any], arguments: tuple[Any, ...], said: Path | None, environment: dict[str, str], folder: str
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server of forks ignores it
    torch.set_num_threads(1)
    faulthandler.enable()  # a crash says where, on what standard error is here
    if said is not None:
        with open(said, "wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the end
        sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    result = work(*arguments)
    if isinstance(result, int):
        sys.exit(result)
