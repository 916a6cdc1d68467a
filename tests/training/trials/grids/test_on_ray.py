"""Trials of the grid side by side on Ray."""

import os
import subprocess
import sys

import pytest

from sg_hub.errors import InvalidInputError
from tests.folders import ROOT
from tests.training.trials.small_grid import command
from training.trials.grids.results import read_results


@pytest.mark.slow
def test_trials_run_side_by_side_on_ray(place, finished, tmp_path):
    out = tmp_path / "out"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-m", "training", *command(place, out, "--ray", "--cpus-per-trial", "1")]
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = read_results(out)
    assert len(rows) == 6
    serial = read_results(finished)
    both = [key for key in rows if key in serial]
    assert len(both) == 4
    assert all(rows[key]["values"] == serial[key]["values"] for key in both)


def test_more_than_a_cluster_has_is_refused():
    from training.trials.grids.on_ray import _check_resources

    _check_resources({"CPU": 4.0}, 4, 0)
    with pytest.raises(InvalidInputError, match="--cpus-per-trial 5: the cluster has 4 CPUs"):
        _check_resources({"CPU": 4.0}, 5, 0)
    with pytest.raises(InvalidInputError, match=r"--gpus-per-trial 0\.25: the cluster has 0 GPUs"):
        _check_resources({"CPU": 4.0}, 1, 0.25)
