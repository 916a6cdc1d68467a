"""The fixtures of a hub on loopback and of users' processes that work with it."""

import hashlib
import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import pytest
from huggingface_hub import constants

from sg_hub.hub import answers
from tests.support.hub_server import HubServer

ALICE, BOB = "hf_alice", "hf_bob"


def _in_a_hurry(timeout):
    """In a user's process: the next try comes soon, and with `timeout` (seconds) a hub is given up as soon as that."""
    answers.WAITS = tuple(seconds / 20 for seconds in answers.WAITS)
    if timeout:
        constants.HF_HUB_ETAG_TIMEOUT = constants.HF_HUB_DOWNLOAD_TIMEOUT = timeout


class User:
    """A process of its own with this environment; `user(function, ...)` calls a function of a module there.

    huggingface_hub reads its environment once, at its import, so users with different environments are different
    processes.
    """

    def __init__(self, environment, timeout=None):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            context = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(1, mp_context=context, initializer=_in_a_hurry, initargs=(timeout,))
            self(os.getpid)  # the process starts now, with the environment as it is here

    def __call__(self, function, *values, **options):
        return self.pool.submit(function, *values, **options).result()


@pytest.fixture(scope="session")
def hub():
    with HubServer() as server:
        yield server


@pytest.fixture(scope="session")
def user(hub, tmp_path_factory):
    user = User(hub.environment(tmp_path_factory.mktemp("home")))
    yield user
    user.pool.shutdown()


@pytest.fixture(scope="session")
def offline_user(hub, tmp_path_factory):
    user = User(hub.environment(tmp_path_factory.mktemp("home")) | {"HF_HUB_OFFLINE": "1"})
    yield user
    user.pool.shutdown()


@pytest.fixture
def repo_id(hub, request):
    """A name that no other test uses; nothing fails any more at the end."""
    yield "alice/" + hashlib.sha1(request.node.nodeid.encode()).hexdigest()[:12]
    left = list(hub.failures)
    hub.failures.clear()
    hub.after.clear()
    hub.lies.clear()
    hub.refuse_cards = None
    assert not left, "a failure that never happened"
    assert hub.tokens_at_storage == []


@contextmanager
def counting(hub, pattern):
    """A list that holds, at the end of the block, the requests that match."""
    found, start = [], len(hub.requests)
    yield found
    found += [request for request in hub.requests[start:] if re.search(pattern, request)]
