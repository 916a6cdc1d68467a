"""Fine-tuning in Lightning: the two phases, the rates, and a model that has learned something."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from sg_hub import InvalidInputError, SemanticGenesis2D, SemanticGenesis3D, from_pretrained
from sg_hub.interop.lightning import FineTuning, loss_of

from lightning import Callback, Trainer  # isort: skip  after what makes torchvision importable


def model_of(head="segmentation", **settings):
    torch.manual_seed(0)
    return SemanticGenesis3D(width=2, norm="batch", head=head, **{"num_classes": 2} | settings)


@pytest.fixture
def batches():
    """Cubes, whose bright half is class 1."""
    x = torch.rand(8, 1, 16, 16, 8, generator=torch.Generator().manual_seed(0)) * 0.4
    y = torch.zeros(8, 16, 16, 8, dtype=torch.long)
    y[:, :8] = 1
    return DataLoader(TensorDataset(x + 0.5 * y[:, None], y), batch_size=4)


class Watch(Callback):
    """What of the encoder changed in each epoch, and the rates at its beginning."""

    def __init__(self):
        self.before, self.changed, self.rates = {}, [], []

    def on_train_epoch_start(self, trainer, module):
        self.before = {key: value.clone() for key, value in module.model.encoder.state_dict().items()}
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_epoch_end(self, trainer, module):
        now = module.model.encoder.state_dict()
        self.changed.append(any(not torch.equal(now[key], value) for key, value in self.before.items()))


def fit(module, batches, epochs, *callbacks):
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=epochs, callbacks=list(callbacks), enable_model_summary=False, **settings)
    trainer.fit(module, batches, batches)
    return trainer


def test_the_encoder_waits_for_what_is_new(batches, tmp_path):
    module, watch = FineTuning(model_of(), frozen_epochs=2, lr=1e-2, pretrained_lr_factor=0.5), Watch()
    before = loss_of(module.model)(module.model.train()(next(iter(batches))[0]), next(iter(batches))[1]).item()
    trainer = fit(module, batches, 6, watch)
    assert watch.changed == [False, False, True, True, True, True]
    assert watch.rates[0] == pytest.approx([1e-2, 5e-3])
    assert watch.rates[3] == pytest.approx([5e-3, 2.5e-3])
    assert float(trainer.callback_metrics["train_loss"]) < before - 0.2
    assert "val_loss" in trainer.callback_metrics
    module.model.eval().save_pretrained(tmp_path / "net")
    again = from_pretrained(tmp_path / "net")
    x = next(iter(batches))[0]
    torch.testing.assert_close(again(x), module.model(x))


@pytest.mark.parametrize("settings", [{}, {"multilabel": True}, {"num_classes": 1}], ids=["classes", "findings", "one"])
def test_classifications_in_2d(settings):
    model = SemanticGenesis2D(
        encoder="lcnet_035", decoder_width=2, head="classification", **{"num_classes": 3} | settings
    )
    x = torch.rand(4, 1, 64, 64)
    y = torch.tensor([0, 1, 1, 0])
    if settings.get("multilabel"):
        y = torch.nn.functional.one_hot(y, 3)
    fit(FineTuning(model, frozen_epochs=0), DataLoader(TensorDataset(x, y), batch_size=4), 1)


def test_the_loss_is_that_of_the_known_formulas():
    logits = torch.tensor([[[0.0, 2.0]], [[1.0, -1.0]]]).movedim(1, 0)[:, :, None, None]  # (1, 2, 1, 1, 2)
    y = torch.tensor([[[[0, 1]]]])
    shares = logits.softmax(1)[0, 1].flatten()
    entropy = -(torch.log(1 - shares[0]) + torch.log(shares[1])) / 2
    dice = (2 * shares[1] + 1) / (shares.sum() + 1 + 1)
    torch.testing.assert_close(loss_of(model_of())(logits, y), entropy + 1 - dice)


def test_labels_may_be_as_monai_gives_them():
    logits = torch.randn(2, 2, 4, 4, 4)
    y = torch.randint(2, (2, 4, 4, 4))
    loss = loss_of(model_of())
    torch.testing.assert_close(loss(logits, y[:, None].float()), loss(logits, y))
    torch.testing.assert_close(loss(logits, y.to(torch.uint8)), loss(logits, y))
    with pytest.raises(InvalidInputError, match="no whole numbers: resample them by the nearest voxel"):
        loss(logits, y + 0.5)
    with pytest.raises(InvalidInputError, match=r"labels of shape \(2, 2, 4, 4, 4\) for an output of"):
        loss(logits, torch.stack([y, y], 1))


@pytest.mark.parametrize("head", ["segmentation", "classification"])
def test_a_module_goes_to_other_processes(head):
    module = pickle.loads(pickle.dumps(FineTuning(model_of(head))))
    assert module.loss is loss_of(module.model)


def test_an_encoder_that_waited_to_the_end_is_no_longer_frozen(batches):
    module = FineTuning(model_of(), frozen_epochs=2)
    before = {name: value.clone() for name, value in module.model.encoder.state_dict().items()}
    fit(module, batches, 1)
    assert all(torch.equal(value, before[name]) for name, value in module.model.encoder.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.model.parameters())


def test_what_cannot_be_fine_tuned_is_said():
    with pytest.raises(InvalidInputError, match="a pretext head has nothing"):
        FineTuning(model_of("pretext"))
    for name in ("lr", "pretrained_lr_factor"):
        with pytest.raises(InvalidInputError, match=f"{name}=-1: expected a number from 0 on"):
            FineTuning(model_of(), **{name: -1})
