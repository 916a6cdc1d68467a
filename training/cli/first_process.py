"""Commands that are the work of one process. Nothing heavy is imported for it."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable

Run = Callable[[argparse.Namespace], None]


def in_first_process(run: Run) -> Run:
    """Under torchrun the first process does it, and the others go on to the next step."""

    @functools.wraps(run)
    def alone(options: argparse.Namespace) -> None:
        if int(os.environ.get("RANK", 0)) == 0:
            run(options)

    return alone
