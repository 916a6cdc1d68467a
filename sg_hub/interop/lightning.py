"""Lightning: a module that fine-tunes pretrained weights in two phases, as training loops here do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sg_hub.errors import InvalidInputError
from sg_hub.extras import missing
from sg_hub.models import PretrainedModel
from sg_hub.models.families.timm_import import import_timm
from sg_hub.models.wrapped import unwrapped

try:
    import_timm()  # before torchmetrics imports torchvision, which fails where it was built for another torch
    from lightning import LightningModule
except (ImportError, RuntimeError) as error:
    raise missing("lightning", "lightning", error) from error

Loss = Callable[[Any, Tensor], Tensor]


class FineTuning(LightningModule):
    """Fine-tunes a model: first what is new alone, then everything, the pretrained part more slowly.

    Batches are (x, y): x as `model.preprocess` gives it, (N, C, spatial...), y class numbers (N, spatial...) of a
    segmentation, or (N, 1, spatial...) as MONAI gives them, (N,) of a classification, or (N, findings) of 0 and 1 where
    the findings do not exclude one another. They may be of any type that holds whole numbers.
    `training_step` logs `train_loss`, `validation_step` `val_loss`. Afterwards `module.model` is the fine-tuned model:
    `module.model.eval().save_pretrained(folder)`.

    Args:
        model: as `sg_hub.from_pretrained(name, head="segmentation", ...)` gives it.
        frozen_epochs: of the first phase, in which neither the encoder changes nor the statistics in it.
        lr: of what is new; it falls to 0 along a cosine.
        pretrained_lr_factor: learning rate of the encoder in the second phase, as a share of lr.
        weight_decay: of AdamW.
        loss: of the model's output and y; absent: cross-entropy (and soft Dice, for a segmentation).

    Raises:
        InvalidInputError: a model without a task, or settings that are impossible.
    """

    def __init__(
        self,
        model: PretrainedModel,
        *,
        frozen_epochs: int = 1,
        lr: float = 2e-3,
        pretrained_lr_factor: float = 0.1,
        weight_decay: float = 1e-2,
        loss: Loss | None = None,
    ) -> None:
        super().__init__()
        model = unwrapped(model)
        if loss is None and not model.head.is_task:
            raise InvalidInputError(
                f"a model with a {model.head_name} head has nothing to be fine-tuned for: load it with "
                'from_pretrained(name, head="segmentation", num_classes=...), or give a loss'
            )
        for name, value, least in (
            ("frozen_epochs", frozen_epochs, 0),
            ("lr", lr, 0),
            ("pretrained_lr_factor", pretrained_lr_factor, 0),
            ("weight_decay", weight_decay, 0),
        ):
            if not value >= least:
                raise InvalidInputError(f"{name}={value}: expected a number from {least} on")
        self.model, self.loss = model, loss or loss_of(model)
        self.save_hyperparameters(ignore=["model", "loss"])

    def forward(self, x: Tensor) -> Any:
        """What the model gives of (N, C, spatial...)."""
        return self.model(x)

    @property
    def frozen(self) -> bool:
        """Whether this is the first phase."""
        return bool(self.current_epoch < self.hparams["frozen_epochs"])

    def on_fit_start(self) -> None:
        self.model.train()  # from_pretrained gives it in evaluation mode, which Lightning keeps

    def on_fit_end(self) -> None:
        self._freeze(False)  # where the first phase was all there was

    def on_train_epoch_start(self) -> None:
        self._freeze(self.frozen)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """The loss of (x, y)."""
        return self._loss(batch, "train_loss")

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """The loss of (x, y)."""
        return self._loss(batch, "val_loss")

    def configure_optimizers(self) -> Any:
        """AdamW, the encoder at its own rate; both fall along a cosine to the last step."""
        pretrained = list(self.model.encoder.parameters())
        known = {id(parameter) for parameter in pretrained}
        fresh = [parameter for parameter in self.model.parameters() if id(parameter) not in known]
        lr = self.hparams["lr"]
        groups = [{"params": fresh, "lr": lr}, {"params": pretrained, "lr": lr * self.hparams["pretrained_lr_factor"]}]
        optimizer = torch.optim.AdamW(groups, weight_decay=self.hparams["weight_decay"])
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _freeze(self, frozen: bool) -> None:
        for parameter in self.model.encoder.parameters():
            parameter.requires_grad_(not frozen)
        self.model.encoder.train(not frozen)

    def _loss(self, batch: Sequence[Tensor], name: str) -> Tensor:
        x, y = batch
        loss = self.loss(self.model(x), y)
        self.log(name, loss, batch_size=len(x), prog_bar=True)
        return loss


def loss_of(model: PretrainedModel) -> Loss:
    """Cross-entropy of a classification; of a segmentation cross-entropy and soft Dice."""
    if model.multilabel or model.num_classes == 1:
        return _of_findings
    return _of_segmentation if model.head.has_labels else _of_classes


def _classes(y: Tensor, logits: Tensor) -> Tensor:
    """Class numbers (N, spatial...), which may come with an axis of one channel, and as floating-point numbers.

    Raises:
        InvalidInputError: other numbers, or another shape than that of the logits.
    """
    y = y.squeeze(1) if y.ndim == logits.ndim and y.shape[1] == 1 else y
    if y.shape != logits.shape[:1] + logits.shape[2:]:
        raise InvalidInputError(
            f"labels of shape {tuple(y.shape)} for an output of {tuple(logits.shape)}: expected class numbers "
            "(N, spatial...), or (N,) of a classification"
        )
    if y.is_floating_point() and bool((y != y.round()).any()):
        raise InvalidInputError("labels that are no whole numbers: resample them by the nearest voxel")
    return y.long()


def _of_findings(logits: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, _like(y, logits))


def _of_classes(logits: Tensor, y: Tensor) -> Tensor:
    """Of class numbers, or of probabilities of the classes."""
    return F.cross_entropy(logits, y if y.shape == logits.shape else _classes(y, logits))


def _of_segmentation(logits: Tensor, y: Tensor) -> Tensor:
    y = _classes(y, logits)
    return F.cross_entropy(logits, y) + _dice_loss(logits, y)


def _like(y: Tensor, logits: Tensor) -> Tensor:
    """y as numbers of the shape of the logits: classes of one output have no axis of channels."""
    return (y if y.shape == logits.shape else y.unsqueeze(1)).to(logits.dtype)


def _dice_loss(logits: Tensor, y: Tensor) -> Tensor:
    """One minus the soft Dice, averaged over the classes but the background."""
    found = logits.softmax(1)[:, 1:]
    truth = F.one_hot(y, logits.shape[1]).movedim(-1, 1)[:, 1:]
    axes = (0, *range(2, logits.ndim))
    dice = (2 * (found * truth).sum(axes) + 1) / (found.sum(axes) + truth.sum(axes) + 1)
    return 1 - dice.mean()
