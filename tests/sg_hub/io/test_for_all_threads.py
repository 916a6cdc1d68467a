"""What is changed for the whole process is as it was when the last thread is done."""

import contextlib
import logging
import threading
import warnings

import pytest

from sg_hub.io.for_all_threads import without_warnings
from sg_hub.models.families.timm_weights import _quiet


@pytest.mark.parametrize(
    ("context", "state"),
    [(without_warnings, lambda: list(warnings.filters)), (_quiet, lambda: logging.getLogger("timm").level)],
    ids=["warnings", "timm"],
)
def test_threads_that_leave_in_the_order_in_which_they_came_change_nothing(context, state):
    before = state()
    second_is_in, first_is_out = threading.Event(), threading.Event()

    def second():
        with context:
            second_is_in.set()
            assert first_is_out.wait(10)

    thread = threading.Thread(target=second)
    with contextlib.ExitStack() as first:
        first.enter_context(context)
        thread.start()
        assert second_is_in.wait(10)
        assert state() != before
        first.close()
        assert state() != before, "the second one is still within"
        first_is_out.set()
    thread.join(10)
    assert state() == before
