"""The metrics of a run: a JSON-lines file always, TensorBoard on request."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.files import unwritable


def check_tensorboard() -> None:
    """Raises: InvalidInputError: TensorBoard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise InvalidInputError("--tensorboard needs TensorBoard: pip install tensorboard") from None


class Metrics:
    """A JSON-lines file that a resumed run continues where its checkpoint was."""

    def __init__(self, path: Path, enabled: bool = True, tensorboard: bool = False) -> None:
        self.path, self.enabled = path, enabled
        self._board = None
        if enabled and tensorboard:
            check_tensorboard()
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(path.parent / "tensorboard")

    def close(self) -> None:
        if self._board is not None:
            self._board.close()

    def position(self) -> int:
        """Bytes so far: what a checkpoint remembers."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def truncate(self, position: int) -> None:
        """Forget what was written after the checkpoint: it is going to be computed again.

        Raises:
            ReadError: the file cannot be written.
        """
        if self.enabled and self.path.is_file():
            try:
                os.truncate(self.path, min(position, self.position()))
            except OSError as error:
                raise unwritable(self.path, error) from error

    def drop_unfinished(self) -> None:
        """Forget a last line without its end, which a crash cut off.

        Raises:
            ReadError: the file cannot be written.
        """
        if self.path.is_file() and not (text := self.path.read_bytes()).endswith(b"\n"):
            self.truncate(text.rfind(b"\n") + 1)

    def write(self, **values: Any) -> None:
        """Add a line.

        Raises:
            ReadError: the file cannot be written.
        """
        if not self.enabled:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:
            raise unwritable(self.path, error) from error
        if self._board is not None:
            for key, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{values.get('stage', '')}/{key}", value, values.get("step", 0))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of metrics; none where there is no file. A last line without its end, which a crash cut off,
    is computed again and left out.

    Raises:
        ReadError: it cannot be read, or a line of it is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"{path} cannot be read: {error}") from error
    rows = []
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            break
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError, RecursionError) as error:
            raise ReadError(f"{path}, line {number} is damaged: {error}") from error
    return rows
