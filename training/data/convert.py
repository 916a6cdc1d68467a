"""One scan or image into the store: read, clip, resample, write; and many of them in parallel processes."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor
from zarr.codecs import BloscCodec, Crc32cCodec

from sg_hub import Image, ImagePreprocessing, load_image, load_scan
from sg_hub.errors import InvalidInputError, ReadError, SgHubError
from sg_hub.preprocessing.steps import resampled_size, resize

from ..run.recipe import Prepare
from .identity import image_hashes
from .items import Item
from .store import LEVELS, MISSING
from .store_files import StoredItem

Converter = Callable[[Prepare, str, list[Item]], Generator[tuple[Item, StoredItem | str], None, None]]
"""Each item as it stands in the store then, or with the reason why it does not; in whatever order."""
_LEAST_RANGE = 16
"""Of the values of a scan in the store. Less have scans in other units than the window's, such as 0 to 1."""
_log = logging.getLogger(__name__)
KILLED = "the process that read it was killed: too large for the memory, or badly damaged"


def convert_all(settings: Prepare, url: str, items: list[Item]) -> Generator[tuple[Item, StoredItem | str], None, None]:
    """Each item as it stands in the store then, or with the reason why it does not.

    Raises:
        ReadError: the store cannot be written.
    """
    workers = min(settings.workers, len(items))
    if workers <= 1:
        yield from ((item, convert(item, url, settings)) for item in items)
        return
    done = 0
    while done < len(items):
        try:
            for result in _in_processes(workers, items[done:], url, settings):
                yield items[done], result
                done += 1
        except BrokenProcessPool:
            # One of the scans in work killed its process. Each of them gets a process of its own.
            for item in items[done : done + workers]:
                try:
                    (result,) = _in_processes(1, [item], url, settings)
                except BrokenProcessPool:
                    result = KILLED
                yield item, result
                done += 1


def convert(item: Item, url: str, settings: Prepare) -> StoredItem | str:
    """Read, clip, resample and write one scan (or image); the mark that it is complete is written last.

    Returns:
        what stands in the store, or the reason why the item cannot be read.

    Raises:
        ReadError: the store cannot be written.
    """
    try:
        voxels, spacing, images = (_read_scan if item.ndim == 3 else _read_image)(item.path, settings)
        array = np.ascontiguousarray(voxels.round().to(torch.int16).numpy())
    except SgHubError as error:
        return str(error)
    except Exception as error:  # the readers' own, for damage that nobody foresaw; the other scans go on
        return f"{type(error).__name__}: {error}"
    record = {
        "shape": list(array.shape[1:]),
        "channels": array.shape[0],
        "spacing": [float(value) for value in spacing],
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
        "images": list(images),
    }
    try:
        _write(item, array, url, settings.chunk, record)
    except OSError as error:
        # Of the other chunks that zarr was writing, asyncio would tell one by one at the end of the process.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        raise ReadError(
            f"{url} cannot be written ({error}): make room, or give another run=FOLDER, and start again"
        ) from error
    except ValueError as error:
        return f"the store has no place for that name: {error}"
    return stored_item(item, record)


def stored_item(item: Item, record: dict[str, Any]) -> StoredItem:
    """What the store has of an item. The split is the recipe's, so that it may change without reading the scans again.

    Raises:
        KeyError, TypeError, ValueError: a damaged record.
    """
    return StoredItem(
        name=item.name,
        split=item.split,
        shape=tuple(int(side) for side in record["shape"]),
        channels=int(record["channels"]),
        spacing=tuple(float(value) for value in record["spacing"]),
        source=item.source,
        sha256=str(record["sha256"]),
        patient=item.patient,
        images=tuple(map(str, record.get("images", ()))),
    )


def _read_scan(path: str, settings: Prepare) -> tuple[Tensor, tuple[float, ...], tuple[str, ...]]:
    """(C, X, Y, Z) in HU, clipped and resampled, its spacing, and its hashes."""
    scan = load_scan(path)
    images = image_hashes(path, 3, scan)
    voxels = torch.from_numpy(scan.array).clamp(*settings.window)
    if float(voxels.amax() - voxels.amin()) < _LEAST_RANGE:
        low, high = settings.window
        raise InvalidInputError(
            f"{path}: of its values, {scan.array.min():g} to {scan.array.max():g}, hardly anything is left as whole "
            f"numbers within prepare.window, {low:g} to {high:g}. Is it a scan in HU? Scale others (MR, PET) to "
            "hundreds of levels, and give their window"
        )
    other = scan.modality not in ("", "CT")
    if settings.window[0] < 0 and (other or scan.array.min() >= 0):
        low, high = settings.window
        _log.warning(
            "%s: %s, and prepare.window is %g to %g; is it a scan in HU? Of others (MR, PET) give the window of their "
            "values, and another run=FOLDER",
            path,
            f"it is {scan.modality} by its file" if other else "no voxel is below 0, and air has -1000 HU",
            low,
            high,
        )
    if settings.spacing is None:
        return voxels, scan.spacing, images
    size = resampled_size(scan.size, scan.spacing, settings.spacing)
    return resize(voxels[None], size)[0], settings.spacing, images


def _read_image(path: str, settings: Prepare) -> tuple[Tensor, tuple[float, ...], tuple[str, ...]]:
    """(C, H, W) grey levels of the store, resized, and its hashes; images have no spacing that training would need."""
    image = load_image(path, bits=settings.bits)
    pixels = ImagePreprocessing(input_size=settings.size).fit(image)[0]
    if pixels.shape[0] != settings.channels:
        pixels = pixels.mean(0, keepdim=True) if settings.channels == 1 else pixels.repeat(settings.channels, 1, 1)
    known = image if settings.bits is None else _unsaid(path, image)
    return pixels * LEVELS[1], (1.0, 1.0), image_hashes(path, 2, known)


def _unsaid(path: str, image: Image) -> Image:
    """An image as whoever is not told its bits reads it, by which it is known; the same where it cannot be read so."""
    logger = logging.getLogger(load_image.__module__)  # of 12 bits in 16 it would say to give bits
    logger.disabled = True
    try:
        return load_image(path)
    except SgHubError:
        return image
    finally:
        logger.disabled = False


def _write(item: Item, array: np.ndarray, url: str, chunk: tuple[int, ...], record: dict[str, Any]) -> None:
    old = Path(url) / "scans" / item.name
    (old / "zarr.json").unlink(missing_ok=True)  # first, so that a half removed scan is never a complete one
    if old.exists():
        shutil.rmtree(old)
    stored = zarr.open_group(url, mode="r+").create_array(
        f"scans/{item.name}",
        shape=array.shape,
        dtype=array.dtype,
        chunks=(array.shape[0], *(min(c, s) for c, s in zip(chunk, array.shape[1:], strict=True))),
        # Blosc is 12 percent smaller than plain zstd on CT, and as fast to read. It does not see flipped bits.
        compressors=(BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=2), Crc32cCodec()),
        fill_value=MISSING,
    )
    stored[:] = array
    stored.attrs.update({"record": record, "stamp": item.stamp})


def _in_processes(workers: int, items: list[Item], url: str, settings: Prepare) -> Iterator[StoredItem | str]:
    # A forked process would hang in torch's or zarr's threads.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        try:
            futures = [pool.submit(convert, item, url, settings) for item in items]
            yield from (future.result() for future in futures)
        except BaseException:  # stopped, or the store cannot be written: what is half written is no finished item
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


def one_thread() -> None:
    """There is a process for every core."""
    torch.set_num_threads(1)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    one_thread()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for ever, or still write when the next run does."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
