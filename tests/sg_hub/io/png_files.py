"""PNG files of depths that pillow reads and does not write."""

import struct
import zlib
from pathlib import Path

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def write_png(path: Path, pixels: np.ndarray, bits: int, colour: int = 0) -> Path:
    """Values (H, W), or (H, W, channels) of a colour type: 2 is RGB, 4 grey and 6 RGB with transparency."""
    rows, columns = pixels.shape[:2]
    unpacked = (pixels.reshape(rows, -1, 1) >> np.arange(bits)[::-1] & 1).astype(np.uint8)
    packed = np.packbits(unpacked.reshape(rows, -1), axis=1)
    data = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", columns, rows, bits, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    path.write_bytes(_SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks))
    return path


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
