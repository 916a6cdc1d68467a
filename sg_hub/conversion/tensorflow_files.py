"""Checkpoints of TensorFlow 1, read by TensorFlow itself where it is installed: no other reader of them is maintained.

A checkpoint is several files of one name (`model.ckpt-3000.index`, `.data-00000-of-00001`, and `.meta`, which is not
needed). Its variables alone are read, and no graph of it is run.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch
from torch import Tensor

from sg_hub.errors import ReadError, shortened

_PART = re.compile(r"(.+)\.(index|meta|data-\d{5}-of-\d{5})")


def index_of(path: Path) -> Path | None:
    """The index of the checkpoint that a path is the name or one of the files of; None: it is of none."""
    found = _PART.fullmatch(path.name)
    index = path.with_name(f"{found[1] if found else path.name}.index")
    return index if os.path.isfile(index) else None  # of a name that is too long, too


def read_tensorflow(index: Path) -> dict[str, Tensor]:
    """The variables of a checkpoint by name.

    Raises:
        ReadError: TensorFlow is not installed, or a file that is missing or damaged.
    """
    try:
        from tensorflow import train
    except ImportError as error:
        raise ReadError(
            f"{index} is of a checkpoint of TensorFlow, which TensorFlow itself has to read: pip install "
            "'sg_hub[tensorflow]' here, or convert it on a machine that has it and copy the folder"
        ) from error
    try:
        reader = train.load_checkpoint(str(index.with_suffix("")))
        return {name: torch.as_tensor(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()}
    except Exception as error:  # TensorFlow has errors of its own, and a variable may hold text
        raise ReadError(
            f"{index} is damaged, or one of the files beside it is missing ({shortened(error, 160)}): download the "
            "whole checkpoint again"
        ) from error
