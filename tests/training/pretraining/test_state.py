import torch
from torch import nn

from tests.training.conftest import small_recipe
from training.pretraining.state import State
from training.run.folder.checkpoint import read_checkpoint, save_checkpoint
from training.run.folder.metrics import Metrics
from training.run.processes.process_group import Process


def state_of(folder, parts):
    me = Process(0, 1, torch.device("cpu"))
    return State(nn.Linear(2, 1), small_recipe(folder).pretrain, folder, f"of all {parts}", me)


def test_the_loss_of_an_epoch_that_was_stopped_is_of_the_steps_that_are_known(tmp_path):
    """A checkpoint of two processes by older code holds the sums of the first alone."""
    for parts, said, total, summed in ((1, False, 6.0, 2), (2, True, 6.0, 2), (2, False, 0.0, 0)):
        stopped = state_of(tmp_path, parts)
        for _ in range(2):
            stopped.add({"loss": torch.tensor(3.0)})
            stopped.at.step += 1
        stopped.save(Metrics(tmp_path / "metrics.jsonl"))
        kept = read_checkpoint(stopped.path)
        if not said:
            del kept["summed"]
            save_checkpoint(stopped.path, kept)
        again = state_of(tmp_path, parts)
        assert again.resume(read_checkpoint(again.path), Metrics(tmp_path / "metrics.jsonl"))
        assert (again.at.step, again.summed, again.totals().get("loss", 0.0)) == (2, summed, total)
        again.add({"loss": torch.tensor(3.0)})
        assert again.totals()["loss"] / again.summed == 3
