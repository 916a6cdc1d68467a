import pytest

from tests.training.report.rows import TRIALS, row
from training.trials.grids.results import append


@pytest.fixture
def folder(tmp_path):
    for init, values in TRIALS.items():
        for trial, value in enumerate(values):
            append(tmp_path, row(init, trial, value))
    return tmp_path
