"""A store on object storage: a real S3 server on loopback, behind a network that is slow and fails."""

import itertools
import pickle
import shutil
import socket
import threading
import time

import fsspec
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.conftest import small_recipe
from tests.training.data.conftest import voxels_of, write_store
from training.data import remote, store_files
from training.data.prepare import prepare
from training.data.store import Store

SECRET = "wJalrXUtnFEMI-not-a-real-one"


class Network:
    """Hands connections on to a server, a little late; some it cuts off before the answer, or in the middle of it."""

    def __init__(self, port: int) -> None:
        self.port, self.fails, self.requests, self.cut = port, 0, 0, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        for _ in itertools.count():
            client, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.port)) as server:
            threading.Thread(target=self._answers, args=(server, client), daemon=True).start()
            while data := self._read(client):
                self.requests += data.count(b" HTTP/1.1\r\n")
                time.sleep(0.005)
                server.sendall(data)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        while data := self._read(server):
            if self.fails and self.requests % self.fails == 0:
                self.cut += 1
                client.sendall(data[: len(data) // 2])
                client.shutdown(socket.SHUT_RDWR)
                return
            client.sendall(data)

    @staticmethod
    def _read(end: socket.socket) -> bytes:
        try:
            return end.recv(2**16)
        except OSError:
            return b""


@pytest.fixture(scope="module")
def network():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    network = Network(server.get_host_and_port()[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", network.address)
        patch.setenv("AWS_MAX_ATTEMPTS", "1")  # how often botocore itself tries, for seconds
        patch.setattr(remote, "PAUSE", 0.01)
        patch.setattr(store_files, "PAUSE", 0.01)
        yield network
    server.stop()


@pytest.fixture(scope="module")
def bucket(network, tmp_path_factory):
    folder = write_store(tmp_path_factory.mktemp("s3") / "store.zarr", {"a": voxels_of(1), "b": voxels_of(2)})
    files = fsspec.filesystem("s3")
    files.mkdir("scans")
    files.put(str(folder), "scans/store.zarr", recursive=True)
    return "s3://scans/store.zarr"


def test_a_network_that_is_slow_and_fails_changes_no_voxel(network, bucket, monkeypatch):
    network.fails = 3
    store = Store.open(bucket)
    for number, name in enumerate("ab", 1):
        np.testing.assert_array_equal(store.crop(name, (3, 3, 3), (9, 9, 9)), voxels_of(number)[:, 3:12, 3:12, 3:12])
    assert network.cut > 2
    network.fails = 1
    monkeypatch.setattr(remote, "TRIES", 1)
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    with pytest.raises(ReadError, match=r"patient b of the store s3://scans/store\.zarr cannot be read") as error:
        store.crop("b", (30, 20, 10), (2, 2, 2))
    assert SECRET not in str(error.value)
    network.fails = 0
    store.crop("b", (30, 20, 10), (2, 2, 2))


def test_what_was_read_is_kept_on_the_local_disk(network, bucket, tmp_path):
    store = Store.open(bucket, cache_dir=str(tmp_path))
    store.whole("a")
    assert (tmp_path / store.fingerprint[:16] / "scans" / "a" / "zarr.json").is_file()
    again, asked = pickle.loads(pickle.dumps(store)), network.requests
    np.testing.assert_array_equal(again.whole("a"), voxels_of(1))
    assert network.requests == asked


def test_a_recipe_reads_a_store_there_and_nothing_secret_is_written(network, bucket, tmp_path, capfd):
    with pytest.raises(InvalidInputError, match=r"another spacing None: give the recipe's \[prepare\] that"):
        prepare(small_recipe(tmp_path / "run", f"source={bucket}"), progress=False)
    recipe = small_recipe(tmp_path / "run", f"source={bucket}", "prepare.spacing=own")
    assert len(prepare(recipe, progress=False).kept) == 2
    with pytest.raises(ReadError, match=r"is not a store: run `sg-hub prepare`"):
        Store.open("s3://scans/other.zarr")
    assert SECRET not in "".join(capfd.readouterr())
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in path.read_bytes() for path in written)
    shutil.rmtree(tmp_path)
