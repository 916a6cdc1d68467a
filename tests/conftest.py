import locale
import os
import signal

# Tests, and the commands that they start, have one thread each: more, in several workers, wait for one another.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

from tests.support.hub_user import hub, offline_user, repo_id, user  # noqa: F401

# No test may reach a hub, or read this user's cache.
os.environ["HF_HUB_OFFLINE"] = "1"
# What was started in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # fixtures of a module run before those of its tests


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message):
    """Warnings go from worker to worker by the name of their class, whose package would be imported; as plain ones."""
    if type(warning_message.message).__module__ != "builtins":
        warning_message.message = UserWarning(f"{warning_message.category.__name__}: {warning_message.message}")
        warning_message.category = UserWarning


@pytest.fixture(autouse=True)
def _one_thread():
    """Small networks are quicker on one thread, and results do not depend on the machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _same_locale():
    """Writing DICOM by SimpleITK, as tests do, leaves the C locale, in which torch cannot read its own source files."""
    before = locale.setlocale(locale.LC_CTYPE)
    yield
    locale.setlocale(locale.LC_CTYPE, before)
