"""SIGTERM ends a command as Ctrl-C does."""

import os
import signal
import time

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


class Released:
    """Python ignores what its end raises."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        os.kill(os.getpid(), self.number)
        sum(range(100))  # where the handler is called


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_that_python_ignored_comes_again(number, kind, capsys):
    def work():
        Released(number)
        time.sleep(20)

    with pytest.raises(kind), terminable():
        work()
    assert "Traceback" not in capsys.readouterr().err
