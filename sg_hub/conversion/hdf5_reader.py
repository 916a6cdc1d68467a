"""A process of its own that reads an HDF5 file; `keras_file` starts it. It imports nothing of sg_hub.

The HDF5 library was not made for damaged files: of some it never comes back. Arguments: the file, and how many bytes of
values may be in it. Standard output: for every array a line of JSON (name, type, shape) and its values; at the end a
line with the attribute `model_config`, or with an error.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import h5py

_SECONDS, _BYTES = 60, 16 << 30
"""Of processor time, and of memory."""
_NOT_READ = "optimizer_weights/"


def _limit() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    for kind, most in ((resource.RLIMIT_CPU, _SECONDS), (resource.RLIMIT_AS, _BYTES)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard < 0 else min(most, hard), hard))


def _write(value: dict[str, Any], data: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(value).encode() + b"\n" + data)


def _read(path: str, left: int) -> None:
    def visit(name: str, item: Any) -> None:  # links to other files are not followed
        nonlocal left
        if not isinstance(item, h5py.Dataset) or name.startswith(_NOT_READ):
            return
        left -= item.nbytes
        if item.external or item.is_virtual or left < 0:
            raise ValueError(f"{name} is not in this file, or larger than it")
        values = item[()]
        if values.dtype.kind not in "fiub":
            raise ValueError(f"{name} holds no numbers")
        if values.dtype.kind == "f":
            values = values.astype("float32")
        values = values.astype(values.dtype.newbyteorder("="))
        _write({"name": name, "type": values.dtype.str, "shape": values.shape}, values.tobytes())

    with h5py.File(path, "r") as file:
        within = isinstance(file.get("model_weights", getlink=True), h5py.HardLink)
        (file["model_weights"] if within else file).visititems(visit)
        said = file.attrs.get("model_config", "{}")
    _write({"model_config": said.decode() if isinstance(said, bytes) else str(said)})


def main() -> None:
    _limit()
    try:
        _read(sys.argv[1], int(sys.argv[2]))
    except Exception as error:  # h5py raises nearly anything for a damaged file
        _write({"error": " ".join(str(error).split())[:300]})


if __name__ == "__main__":
    main()
