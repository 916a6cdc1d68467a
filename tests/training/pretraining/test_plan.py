import pytest
import torch
from torch import nn

from sg_hub.errors import InvalidInputError
from tests.training.conftest import small_recipe
from tests.training.pretraining.numbered import Numbered
from training.methods.protocol import Stage
from training.pretraining.inputs import Inputs
from training.pretraining.plan import Plan, train_only
from training.run.processes.process_group import Process

STAGES = [Stage("first", 2, ("encoder",)), Stage("none", 0), Stage("last", 3)]


def plan(tmp_path, train, *overrides, validation=3, rank=0, world=1, parts=None, stages=STAGES):
    data = {"train": Numbered(train), "validation": Numbered(validation)}
    inputs = Inputs(None, data, None, "")
    me = Process(rank, world, torch.device("cpu"))
    return Plan(stages, inputs, small_recipe(tmp_path, *overrides).pretrain, "pretrain", me, parts)


def test_stages_follow_one_another(tmp_path):
    found = plan(tmp_path, 10)
    assert (found.epochs, found.last_began) == (5, 2)
    assert [found.stage(epoch).name for epoch in range(6)] == ["first", "first", "last", "last", "last", "last"]
    assert [epoch for epoch in range(5) if found.begins(epoch)] == [0, 2]


def test_stages_may_be_alike(tmp_path):
    found = plan(tmp_path, 10, stages=[Stage("same", 1), Stage("same", 1)])
    assert (found.epochs, found.last_began) == (2, 1)


def test_processes_share_an_epoch_between_them(tmp_path):
    shares = [plan(tmp_path, 26, "pretrain.batch_size=8", rank=rank, world=2) for rank in (0, 1)]
    assert [(share.per_part, share.steps) for share in shares] == [(4, 3)] * 2
    both = [share.batches(seed=1, epoch=4, step=0) for share in shares]
    items = [item for batches in both for (batch,) in batches for item in batch]
    assert len(items) == len(set(items)) == 24
    alone = plan(tmp_path, 26, "pretrain.batch_size=8").batches(seed=1, epoch=4, step=0)
    assert [[first + second] for (first,), (second,) in zip(*both, strict=True)] == alone
    assert shares[1].batches(1, 4, step=2) == both[1][2:], "from where a run is resumed"
    assert shares[0].batches(1, 5, 0) != both[0]


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_the_parts_of_a_batch_are_the_same_for_any_number_of_processes(tmp_path, world):
    alone = plan(tmp_path, 26, "pretrain.batch_size=8", parts=4)
    shares = [plan(tmp_path, 26, "pretrain.batch_size=8", rank=r, world=world, parts=4) for r in range(world)]
    assert [part for share in shares for part in share.mine] == [0, 1, 2, 3]
    assert all(len(share.mine) in (4 // world, 4 // world + 1) for share in shares)
    assert {(share.per_part, share.whole, share.steps, share.share) for share in shares} == {(2, 8, 3, world / 4)}
    steps = zip(*(share.batches(1, 4, 0) for share in shares), strict=True)
    together = [[part for parts in step for part in parts] for step in steps]
    assert together == alone.batches(1, 4, 0)


@pytest.mark.parametrize(
    ("train", "overrides", "expected"),
    [
        (26, ("pretrain.batch_size=8",), (8, 3)),
        (26, ("pretrain.batch_size=8", "pretrain.samples_per_epoch=9"), (8, 1)),
        (26, ("pretrain.batch_size=8", "pretrain.samples_per_epoch=1000"), (8, 3)),
        (5, ("pretrain.batch_size=8",), (5, 1)),
    ],
)
def test_how_many_steps_an_epoch_has(tmp_path, train, overrides, expected):
    found = plan(tmp_path, train, *overrides)
    assert (found.per_part, found.steps) == expected


def test_what_cannot_be_trained_on_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"pretrain\.epochs=0: no stage has an epoch"):
        plan(tmp_path, 5, stages=[Stage("first", 0), Stage("last", 0)])
    with pytest.raises(InvalidInputError, match="nothing of the train split"):
        plan(tmp_path, 0)
    with pytest.raises(InvalidInputError, match="nothing of the validation split"):
        plan(tmp_path, 5, validation=0)
    with pytest.raises(InvalidInputError, match=r"batch_size=4 and 26 items .* by 3 processes"):
        plan(tmp_path, 26, world=3)
    with pytest.raises(InvalidInputError, match=r"batch_size=4 and 26 items .* by 3 parts of a batch"):
        plan(tmp_path, 26, parts=3)
    with pytest.raises(InvalidInputError, match="2 parts here, which 4 processes cannot share: start 2 processes"):
        plan(tmp_path, 26, world=4, parts=2)
    with pytest.raises(InvalidInputError, match=r"batch_size=4 and 1 items .* by 2 processes"):
        plan(tmp_path, 1, world=2)


def test_parts_that_train():
    network = nn.ModuleDict({"encoder": nn.Linear(1, 1), "decoder": nn.Linear(1, 1)})
    for parts, expected in ((("encoder",), {"encoder"}), ((), {"encoder", "decoder"}), (("decoder",), {"decoder"})):
        train_only(network, parts)
        assert {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad} == expected
    with pytest.raises(AttributeError):
        train_only(network, ("nothing",))
