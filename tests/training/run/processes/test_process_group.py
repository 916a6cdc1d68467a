"""One process, and several of one run."""

from pathlib import Path

import torch
from torch import nn

from tests.support.forked import run_ranks
from training.run.processes.process_group import process


def agree(folder: Path) -> None:
    for number in range(2):  # each step of a run joins: `regenerate` has several
        with process("cpu") as me:
            assert [me.any(False), me.any(me.rank == 1), me.any(True)] == [False, True, True]
            assert me.sum(torch.tensor([1.0 + me.rank])).tolist() == [3.0]
            assert me.told(f"rank {me.rank}") == "rank 0"
            assert me.gathered([me.rank] * (1 + me.rank)) == [0, 1, 1], "uneven shares"
            me.barrier()
            (folder / f"process {me.rank} of {me.world}, {number}").touch()


def test_alone():
    with process() as me:
        assert (me.rank, me.world, me.is_main) == (0, 1, True)
        assert [me.any(False), me.any(True)] == [False, True]
        assert me.sum(torch.tensor([2.0])).tolist() == [2.0]
        assert (me.told(3), me.gathered([4, 5])) == (3, [4, 5])
        module = nn.Linear(1, 1)
        assert me.wrap(module) is module
        me.barrier()


def test_two_processes_agree(tmp_path):
    assert run_ranks(2, agree, tmp_path) == [(0, ""), (0, "")]
    assert len(list(tmp_path.iterdir())) == 4
