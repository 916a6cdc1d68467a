import pytest
import torch

from sg_hub.errors import InvalidInputError
from tests.training.conftest import small_recipe
from tests.training.pretraining.numbered import Numbered
from training.methods.restoration import Restoration
from training.pretraining.divergence import Watch
from training.pretraining.pretrain import pretrain
from training.run.folder.metrics import read_metrics


def watch(first=0, batches=((0, 1), (2, 3), (4, 5, 6, 7, 8, 9))):
    return Watch(torch.device("cpu"), "pretrain", Numbered(10), 2, first, [list(batch) for batch in batches])


def test_the_first_step_whose_loss_was_no_number_is_named():
    seen = watch()
    for step, loss in enumerate((1.0, torch.inf, torch.nan)):
        seen.see(step, torch.tensor(loss))
    with pytest.raises(
        InvalidInputError, match=r"epoch 3, step 2 \(item 2, item 3\) is no finite number: .*pretrain\.lr"
    ):
        seen.check()


def test_steps_are_counted_from_where_the_epoch_was_resumed():
    seen = watch(first=10)
    seen.see(12, torch.tensor(torch.nan))
    with pytest.raises(InvalidInputError, match=r"step 13 \(item 4, item 5, item 6, item 7 and 2 more\)"):
        seen.check()


def test_numbers_pass():
    seen = watch()
    seen.see(0, torch.tensor(3e38))
    seen.check()


def test_seeing_waits_for_no_device():
    """On the meta device there are no values: whatever reads one fails."""
    seen = Watch(torch.device("meta"), "pretrain", Numbered(10), 0, 0, [[0]])
    seen.see(0, torch.tensor(1.0, device="meta"))


def test_a_run_that_diverges_stops_at_the_batch(run, monkeypatch):
    losses, calls = Restoration.losses, []

    def broken(self, outputs, targets):
        calls.append(1)
        found = losses(self, outputs, targets)
        return {key: value * torch.nan for key, value in found.items()} if len(calls) == 3 else found

    monkeypatch.setattr(Restoration, "losses", broken)
    recipe = small_recipe(run, "method.classification_epochs=0", "pretrain.checkpoint_every=1")
    with pytest.raises(InvalidInputError, match=r"epoch 1, step 3 \(pattern \d of pt_\d+ at \d+ \d+ \d+, .*diverged"):
        pretrain(recipe, progress=False)
    state = torch.load(run / "pretraining" / "checkpoint.pt", weights_only=True)
    assert state["at"]["step"] == 2, "the last checkpoint is from before"
    assert all(torch.isfinite(value).all() for value in state["network"].values())
    assert read_metrics(run / "pretraining" / "metrics.jsonl") == []


def test_a_run_whose_weights_overflow_is_stopped(run):
    with pytest.raises(InvalidInputError, match="diverged"):
        pretrain(small_recipe(run, "pretrain.lr=1e30"), progress=False)
