"""SIGTERM ends a command as Ctrl-C does."""

import os
import signal

import pytest

from sg_hub.signals import Terminated, exit_status, terminable


def test_sigterm_ends_a_command_as_ctrl_c_does():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as stopped, terminable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert isinstance(stopped.value, Terminated)
    assert exit_status(stopped.value) == 143
    assert exit_status(KeyboardInterrupt()) == 130
    assert signal.getsignal(signal.SIGTERM) is before
