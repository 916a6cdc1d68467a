"""SIGTERM and Ctrl-C end a command in order."""

import os
import signal
import threading

import pytest

from sg_hub.errors import ReadError
from sg_hub.signals import Terminated, exit_status, terminable
from training.run.processes.signals import stopping


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def loop(done: list, *sent: int, error: Exception | None = None) -> None:
    """Five steps; signals come in the third, and what goes wrong after them."""
    with stopping() as stop:
        for step in range(5):
            if step == 2:
                for number in sent:
                    send(number)
                    done.append("sent")
                if error is not None:
                    raise error
            done.append(step)
            if stop.requested:
                break
        done.append("checkpoint")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_loop_ends_between_its_steps(number, status):
    done: list = []
    with pytest.raises(KeyboardInterrupt) as stopped:
        loop(done, number)
    assert done == [0, 1, "sent", 2, "checkpoint"]
    assert exit_status(stopped.value) == status


def test_the_second_signal_ends_at_once():
    done: list = []
    with pytest.raises(Terminated):
        loop(done, signal.SIGTERM, signal.SIGTERM)
    assert done == [0, 1, "sent"]


def test_what_breaks_by_the_same_signal_is_the_stop():
    killed = RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated")
    with pytest.raises(Terminated):
        loop([], signal.SIGTERM, error=killed)
    with pytest.raises(RuntimeError, match="killed by signal"):
        loop([], error=killed)
    with pytest.raises(ReadError, match="disk is full"):
        loop([], signal.SIGTERM, error=ReadError("the disk is full"))


def test_without_a_signal_nothing_happens():
    before = signal.getsignal(signal.SIGINT)
    with stopping() as stop:
        assert not stop.requested
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_signals_stay_as_they_are():
    seen = []

    def work() -> None:
        with stopping() as stop, terminable():
            seen.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
