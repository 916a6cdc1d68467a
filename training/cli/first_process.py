"""Commands that are the work of one process. Nothing heavy is imported for it."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable

from sg_hub.errors import InvalidInputError

Run = Callable[[argparse.Namespace], None]


def in_first_process(run: Run) -> Run:
    """Under torchrun the first process does it, and the others go on to the next step."""

    @functools.wraps(run)
    def alone(options: argparse.Namespace) -> None:
        if int(os.environ.get("RANK", 0)) == 0:
            run(options)

    return alone


def without_torchrun(run: Run) -> Run:
    """For what starts trainings of its own, which torchrun's other processes would have to join."""

    @functools.wraps(run)
    def alone(options: argparse.Namespace) -> None:
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise InvalidInputError(f"`sg-hub {options.command}` starts each of its trainings: run it without torchrun")
        run(options)

    return alone
