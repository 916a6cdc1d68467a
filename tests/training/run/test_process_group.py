"""One process, and two that torchrun started."""

import os
import subprocess
import sys

import torch
from torch import nn

from tests.folders import ROOT
from training.run.process_group import process

TWO = """
import sys
from pathlib import Path
import torch
from training.run.process_group import process
with process() as me:
    flags = [me.any(False), me.any(me.rank == 1), me.any(True)]
    total = me.sum(torch.tensor([1.0 + me.rank]))
    me.barrier()
    assert flags == [False, True, True], flags
    assert total.tolist() == [3.0], total
    Path(sys.argv[1], f"process {me.rank} of {me.world}").touch()
"""


def test_alone():
    with process() as me:
        assert (me.rank, me.world, me.is_main) == (0, 1, True)
        assert [me.any(False), me.any(True)] == [False, True]
        assert me.sum(torch.tensor([2.0])).tolist() == [2.0]
        module = nn.Linear(1, 1)
        assert me.wrap(module) is module
        me.barrier()


def test_two_processes_agree(tmp_path):
    (tmp_path / "two.py").write_text(TWO, encoding="utf-8")
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(tmp_path / "two.py"),
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert sorted(path.name for path in tmp_path.glob("process*")) == ["process 0 of 2", "process 1 of 2"]
