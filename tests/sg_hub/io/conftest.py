import resource
from contextlib import contextmanager

import pytest


@pytest.fixture
def full_disk():
    """`with full_disk():` no file can grow beyond 2 kB, as on a disk that is full.

    Only within the block: outside it the test runner writes its own output, which may be a long file by then.
    """

    @contextmanager
    def limited():
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
