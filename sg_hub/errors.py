"""Everything that a user can cause is one of these; the commands print it without a traceback and exit with 2."""

from __future__ import annotations

from collections.abc import Sequence


class SgHubError(Exception):
    """Base of every error that sg_hub raises on purpose.

    The message says what was given, what is expected and what to do.
    """


class InvalidInputError(SgHubError, ValueError):
    """A value, an array or a setting that cannot be used."""


class ReadError(SgHubError, OSError):
    """A file or folder that cannot be found, read, or trusted."""

    def __str__(self) -> str:  # OSError would print its arguments as a tuple
        return " ".join(str(a) for a in self.args)


def shortened(text: object, most: int = 300) -> str:
    """Words that are not ours (of a file, a hub, a library) for a message: on one line, and cut where they are long."""
    whole = str(text)
    line = " ".join(whole[: 10 * most].split())
    return line if len(line) <= most and len(whole) <= 10 * most else f"{line[:most]}..."


class InputsError(SgHubError):
    """Some of several inputs could not be used; what was made of the others is kept.

    Attributes:
        errors: of those that could not be used.
        partly: whether some of them could be.
    """

    def __init__(self, errors: Sequence[SgHubError], count: int) -> None:
        self.partly = len(errors) < count
        kept = "; what was made of the others is kept" if self.partly else ""
        super().__init__(f"{len(errors)} of {count} failed{kept}")
        self.errors = list(errors)
