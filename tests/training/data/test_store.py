"""Reading of stores: crops, cache, addresses, processes, and damage."""

import multiprocessing
import pickle
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.data.conftest import flipped, voxels_of, write_store
from training.data.store import Store

MIB = 2**20


def chunks_read(monkeypatch) -> list[str]:
    """Names of the chunks that zarr reads from now on."""
    read: list[str] = []
    original = zarr.storage.LocalStore.get

    async def get(self, key, *args, **kwargs):
        if "/c/0" in key:
            read.append(key)
        return await original(self, key, *args, **kwargs)

    monkeypatch.setattr(zarr.storage.LocalStore, "get", get)
    return read


@pytest.mark.parametrize("cache_mib", [0, 100])
def test_crops_are_the_same_voxels(folder, scans, cache_mib):
    store = Store.open(folder, cache_mib)
    draw = np.random.default_rng(0)
    for name in [*scans, *scans]:
        for _ in range(10):
            corner = [int(draw.integers(0, side)) for side in store.shape(name)]
            size = [int(draw.integers(1, n - c + 1)) for n, c in zip(store.shape(name), corner, strict=True)]
            x, y, z = (slice(c, c + s) for c, s in zip(corner, size, strict=True))
            crop = store.crop(name, corner, size)
            assert crop.dtype == np.int16
            np.testing.assert_array_equal(crop, scans[name][:, x, y, z])
        np.testing.assert_array_equal(store.whole(name), scans[name])


def test_common_spacing(tmp_path, scans):
    assert Store.open(write_store(tmp_path / "s", scans, [4.0, 4.0, 3.0])).spacing == (4.0, 4.0, 3.0)


@pytest.mark.parametrize(
    ("corner", "size"),
    [
        ((-1, 0, 0), (4, 4, 4)),
        ((37, 0, 0), (4, 4, 4)),
        ((0, 0, 18), (4, 4, 4)),
        ((0, 0, 0), (0, 4, 4)),
        ((0, 0, 0), (41, 30, 20)),
        ((0.5, 0, 0), (4, 4, 4)),
        ((0, 0, 0), (4, 4, np.float64(4))),
        ((0, 0), (4, 4)),
        ((0, 0, 0), (4, 4, 4, 4)),
    ],
)
@pytest.mark.parametrize("cache_mib", [0, 100])
def test_crops_outside_are_errors(folder, corner, size, cache_mib):
    with pytest.raises(InvalidInputError, match="crop at"):
        Store.open(folder, cache_mib).crop("a", corner, size)


def test_a_crop_on_the_edge(folder, scans):
    crop = Store.open(folder).crop("a", (36, 26, 16), (4, 4, 4))
    np.testing.assert_array_equal(crop, scans["a"][:, 36:, 26:, 16:])


def test_unknown_patient(folder):
    store = Store.open(folder)
    for call in (store.shape, store.whole, lambda name: store.crop(name, (0, 0, 0), (1, 1, 1))):
        with pytest.raises(InvalidInputError, match="no patient 'x'"):
            call("x")


def test_a_crop_reads_only_its_chunks(folder, monkeypatch):
    store = Store.open(folder)
    read = chunks_read(monkeypatch)
    store.crop("a", (0, 0, 0), (16, 16, 8))
    assert read == ["scans/a/c/0/0/0/0"]
    store.crop("a", (15, 0, 0), (2, 16, 8))
    assert sorted(read[1:]) == ["scans/a/c/0/0/0/0", "scans/a/c/0/1/0/0"]


def test_what_fits_is_read_once(folder, monkeypatch):
    store = Store.open(folder, cache_mib=1)
    read = chunks_read(monkeypatch)
    for name in store.names():
        store.crop(name, (0, 0, 0), (4, 4, 4))
    once = len(read)
    for name in store.names():
        store.crop(name, (8, 8, 8), (4, 4, 4))
        store.whole(name)
    assert len(read) == once > 0


def big_store(folder: Path) -> Path:
    """Four scans of half a MiB each."""
    scans = {name: voxels_of(i, (64, 64, 64)) for i, name in enumerate("abcd")}
    return write_store(folder, scans, chunk=(32, 64, 64))


def test_the_cache_keeps_its_bound(tmp_path, monkeypatch):
    store = Store.open(big_store(tmp_path / "big"), cache_mib=1)
    draw = np.random.default_rng(0)
    for _ in range(60):
        name = "abcd"[draw.integers(4)]
        corner = tuple(int(value) for value in draw.integers(0, 32, 3))
        store.crop(name, corner, (32, 32, 32))
        held = sum(array.nbytes for array in store._cache.values())
        assert held == store._cached_bytes <= MIB
    assert len(store._cache) == 2
    store.whole("a")
    store.whole("b")
    assert list(store._cache) == ["a", "b"]
    read = chunks_read(monkeypatch)
    store.crop("a", (0, 0, 0), (1, 1, 1))
    store.whole("c")
    assert read, "c was not in the cache"
    assert list(store._cache) == ["a", "c"], "the least recently used one goes"


def test_a_full_cache_is_not_turned_over_by_single_crops(tmp_path, monkeypatch):
    store = Store.open(big_store(tmp_path / "big"), cache_mib=1)
    store.whole("a")
    store.whole("b")
    read = chunks_read(monkeypatch)
    for _ in range(3):
        store.crop("c", (0, 0, 0), (16, 16, 8))
        store.crop("d", (0, 0, 0), (16, 16, 8))
    assert len(read) == 6, "one chunk a crop"
    assert list(store._cache) == ["a", "b"]
    for _ in range(8):
        store.crop("c", (0, 0, 0), (32, 64, 64))
    assert list(store._cache) == ["b", "c"], "what is read often is worth its place"


def test_a_scan_larger_than_the_cache_is_read_by_chunk(tmp_path, monkeypatch):
    folder = write_store(tmp_path / "large", {"a": voxels_of(0, (128, 96, 64))}, chunk=(64, 48, 64))
    store = Store.open(folder, cache_mib=1)
    for _ in range(3):
        store.whole("a")
        store.crop("a", (0, 0, 0), (128, 96, 64))
    read = chunks_read(monkeypatch)
    store.crop("a", (0, 0, 0), (16, 16, 8))
    assert len(read) == 1
    assert not store._cache


def test_a_crop_may_be_written_into(folder, scans):
    store = Store.open(folder, cache_mib=10)
    store.crop("a", (0, 0, 0), (4, 4, 4))[:] = 7
    np.testing.assert_array_equal(store.whole("a"), scans["a"])


def test_pickled_without_its_cache(folder, scans):
    store = Store.open(folder, cache_mib=10)
    store.whole("a")
    data = pickle.dumps(store)
    assert len(data) < 5000
    again = pickle.loads(data)
    assert again.fingerprint == store.fingerprint
    np.testing.assert_array_equal(again.crop("b", (1, 2, 3), (4, 5, 6)), scans["b"][:, 1:5, 2:7, 3:9])
    assert again._budget == store._budget


def _sum_of_crops(store: Store) -> int:
    return sum(int(store.crop(name, (1, 2, 3), (20, 20, 15)).sum()) for name in store.names())


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_read_from_other_processes(folder, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    store = Store.open(folder)
    expected = _sum_of_crops(store)  # the parent's event loop runs before the fork
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map_async(_sum_of_crops, [store] * 2).get() == [expected] * 2


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_fsspec_urls(folder, scans, scheme):
    url = f"file://{folder}"
    if scheme == "memory":
        url = "memory://bucket/store.zarr"
        memory = fsspec.filesystem("memory")
        memory.put(str(folder), "/bucket/store.zarr", recursive=True)
    try:
        store = Store.open(url, cache_mib=1)
        assert store.fingerprint == Store.open(folder).fingerprint
        np.testing.assert_array_equal(store.crop("c", (3, 3, 3), (9, 9, 9)), scans["c"][:, 3:12, 3:12, 3:12])
        np.testing.assert_array_equal(store.whole("b"), scans["b"])
    finally:
        if scheme == "memory":
            memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("where", ["nothing/there", "", "file", "memory://nothing/there"])
def test_no_store(tmp_path, where):
    (tmp_path / "file").write_text("text", encoding="utf-8")
    with pytest.raises(ReadError, match=r"is not a store: run `sg-hub prepare`"):
        Store.open(where if "://" in where else tmp_path / where)


def test_an_address_of_an_unknown_kind():
    with pytest.raises(ReadError, match="nope"):
        Store.open("nope://bucket/store.zarr")


def test_no_flipped_bit_gives_other_voxels(prepared):
    """200 bits of chunks, and as many of what zarr says of an array, where most do not matter."""
    folder = prepared / "scans" / "c"
    chunks = sorted(path for path in (folder / "c").rglob("*") if path.is_file())
    assert len(chunks) == 12
    expected, draw, errors = Store.open(prepared).whole("c"), np.random.default_rng(0), 0
    for path in [*(chunks[i] for i in draw.integers(0, 12, 200)), *[folder / "zarr.json"] * 200]:
        whole = path.read_bytes()
        path.write_bytes(flipped(path, draw.integers(8 * len(whole))))
        try:
            np.testing.assert_array_equal(Store.open(prepared).whole("c"), expected)
        except ReadError:
            errors += 1
        path.write_bytes(whole)
    assert errors > 200, "no bit of a chunk goes unseen"


@pytest.mark.parametrize("cache_mib", [0, 10])
def test_lost_and_damaged_chunks_are_errors(folder, cache_mib):
    chunk = folder / "scans" / "a" / "c" / "0" / "0" / "0" / "0"
    whole = chunk.read_bytes()
    for damage in (chunk.unlink, lambda: chunk.write_bytes(whole[: len(whole) // 2])):
        damage()
        store = Store.open(folder, cache_mib)
        with pytest.raises(ReadError, match=r"patient a of the store .*copy the store again"):
            store.crop("a", (10, 0, 0), (16, 16, 8))
        with pytest.raises(ReadError, match="patient a"):
            store.whole("a")
        store.crop("b", (10, 0, 0), (16, 16, 8))
    shutil.rmtree(folder / "scans" / "a")
    with pytest.raises(ReadError, match="patient a"):
        Store.open(folder, cache_mib).crop("a", (0, 0, 0), (1, 1, 1))


def test_an_array_of_other_metadata_is_refused(prepared):
    """Chunks of another size would be put together to other voxels."""
    path = prepared / "scans" / "b" / "zarr.json"
    whole = path.read_text(encoding="utf-8")
    for change in (("20,", "21,"), ("8,", "9,"), ("-32768", "0"), ('"int16"', '"uint16"')):
        changed = whole.replace(*change, 1)
        assert changed != whole
        path.write_text(changed, encoding="utf-8")
        with pytest.raises(ReadError, match=r"patient b of the store .*cannot be read"):
            Store.open(prepared).whole("b")
    path.write_text(whole, encoding="utf-8")
