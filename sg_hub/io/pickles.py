"""Pickles of torch.save, looked through before torch reads them: what would keep it busy without end is refused.

`torch.load(weights_only=True)` runs nothing that is in a file, but a tuple of tuples of tuples, each twice in the next
and used as a key, takes it twice as long with every level. Here every tuple is counted as it is made, and none is
looked into.
"""

from __future__ import annotations

import pickle
import zipfile
from typing import Any, BinaryIO, ClassVar

_DEEPEST = 16
"""Tuples within tuples; torch needs four."""
_LONGEST = 256 << 20
"""Bytes of a pickle, which has no voxels or weights in it."""
_PICKLES = 5
"""In a file of before torch 1.6: magic number, version, system, content, keys of its storages."""


def check_archive(file: BinaryIO) -> None:
    """Refuse a ZIP archive that holds more than the file does, or a pickle that torch would not get through.

    Raises:
        ValueError: saying why.
        Exception: of zipfile and pickle, where it is damaged.
    """
    size = file.seek(0, 2)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        if total > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError(
                f"its parts have {total} bytes, more than the file, or are compressed, which torch.save never does"
            )
        if len({entry.filename for entry in entries}) < len(entries):
            raise ValueError("two of its parts have the same name")
        for entry in entries:
            if entry.filename.endswith(".pkl"):
                if entry.file_size > _LONGEST:
                    raise ValueError(f"{entry.filename} in it has {entry.file_size} bytes, more than any network needs")
                with archive.open(entry) as part:
                    _Scan(part).load()


def check_legacy(file: BinaryIO) -> None:
    """The same for what torch.save wrote before 1.6: pickles one after the other, and then the weights."""
    file.seek(0)
    for _ in range(_PICKLES):
        if not file.read(1):
            return
        file.seek(-1, 1)
        _Scan(file).load()


class _Inert:
    """Stands for whatever a pickle makes: nothing of it is imported or called."""

    def __new__(cls, *arguments: object, **named: object) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        pass

    extend = add = append


class _Tuple(tuple[Any, ...]):
    """A tuple that is quick to use as a key, however deep it is."""

    depth: int

    __hash__ = object.__hash__


def _made(items: list[Any]) -> _Tuple:
    made = _Tuple(items)
    made.depth = 1 + max((item.depth for item in items if type(item) is _Tuple), default=0)
    if made.depth > _DEEPEST:
        raise ValueError(f"it holds tuples within tuples, more than {_DEEPEST} deep")
    return made


_Python: Any = pickle._Unpickler  # the one whose steps can be replaced


class _Scan(_Python):  # type: ignore[misc]
    def find_class(self, module: str, name: str) -> type[_Inert]:
        return _Inert

    def persistent_load(self, identifier: object) -> _Inert:
        return _Inert()

    def load_tuple(self) -> None:
        items = self.pop_mark()
        self.append(_made(items))

    def load_tuple1(self) -> None:
        self.stack[-1:] = [_made(self.stack[-1:])]

    def load_tuple2(self) -> None:
        self.stack[-2:] = [_made(self.stack[-2:])]

    def load_tuple3(self) -> None:
        self.stack[-3:] = [_made(self.stack[-3:])]

    dispatch: ClassVar[dict[int, Any]] = _Python.dispatch | {
        pickle.TUPLE[0]: load_tuple,
        pickle.TUPLE1[0]: load_tuple1,
        pickle.TUPLE2[0]: load_tuple2,
        pickle.TUPLE3[0]: load_tuple3,
    }
