"""sg-hub: runs a command. Results on stdout, progress and errors on stderr; a user's mistake exits with 2."""

from __future__ import annotations

import argparse
import logging
import os
import pkgutil
import sys
import warnings
from importlib.util import find_spec

from sg_hub.cli.help import say
from sg_hub.cli.parser import make_parser
from sg_hub.devices import device_of
from sg_hub.errors import InputsError, InvalidInputError, SgHubError
from sg_hub.signals import exit_status, terminable

MISTAKE, PARTLY = 2, 3
"""Exit codes: of a mistake in what was given; of several inputs of which some failed."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code (`sg_hub.cli.help.EXIT_CODES`).

    Raises:
        SystemExit: help, the version, or (with 2) options that do not exist.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal that knows no ± must not end hours of work
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    options = _parse(arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO if options.verbose else logging.WARNING)
    try:
        _check_installed(options)
        if options.device != "auto":
            device_of(options.device)  # said now, whatever the command would do first
        with terminable(), warnings.catch_warnings():
            if not (options.verbose or options.warnings):
                warnings.simplefilter("ignore")
            pkgutil.resolve_name(options.run)(options)
        sys.stdout.flush()
    except SgHubError as error:
        lines = [*map(str, error.errors), str(error)] if isinstance(error, InputsError) else [str(error)]
        for line in dict.fromkeys(lines):
            say(line)
        return PARTLY if isinstance(error, InputsError) and error.partly else MISTAKE
    except KeyboardInterrupt as stopped:
        say(options.stopped)
        return exit_status(stopped)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk or a missing right, wherever it is met
        say(f"{error.filename or 'a file'}: {error.strerror or error}: is there space, and may you write there?")
        return MISTAKE
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    options, more = make_parser().parse_known_args(arguments)
    if more:
        options.parser.unknown(more)
    return options


def _check_installed(options: argparse.Namespace) -> None:
    missing = [name for name in options.needs if find_spec(name) is None]
    if missing:
        raise InvalidInputError(
            f"{options.command} needs what the extra [training] brings ({', '.join(missing)} cannot be found): pip "
            "install 'sg_hub[training]', or in a checkout pip install '.[training]'"
        )
