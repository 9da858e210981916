"""The LightningModule: forward, the three steps with their metrics, the optimizer. Nothing of files."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from graft.errors import UserError
from graft.models.checkpoints import DESCRIPTION
from graft.models.classifier import Classifier
from graft.models.freezing import Phase, apply_phase, hold_frozen
from graft.models.tail import Tail
from graft.tasks.metrics import Measurements
from graft.training.optimizers import parameter_groups
from graft.training.regularisation import StartingPoint, batch_mixing
from graft.training.schedulers import take_current_rates

Batch = tuple[Tensor, Tensor]
NEVER = 10**9  # epochs between two steps


class TransferModule(L.LightningModule):
    """Trains what the phase lets learn of a classifier and measures loss, accuracy, F1 and AUROC.

    `optimizer` takes parameter groups; `scheduler` takes the optimizer, the phase's number of
    steps and the steps of one epoch. The rates are those of `graft.training.optimizers`. `class_weights`
    `[num_classes]` weighs the training loss. `l2_sp`, `mixup`, `cutmix`: see `graft.training.regularisation`.
    """

    def __init__(
        self,
        classifier: Classifier,
        num_classes: int,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        scheduler: Callable[[Optimizer, int, int], LRScheduler],
        learning_rate: float,
        head_lr_multiplier: float = 1.0,
        layer_decay: float = 1.0,
        norm: str = "train",
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        l2_sp: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise UserError(
                f"loss.label_smoothing={label_smoothing}: it is a share, 0 <= label_smoothing < 1."
            )
        self.classifier = classifier
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.rates = (learning_rate, head_lr_multiplier, layer_decay)
        self.norm = norm
        self.label_smoothing = label_smoothing
        self.class_weights: Tensor | None
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        self.start = StartingPoint(classifier.backbone, l2_sp) if l2_sp else None
        self.mix = batch_mixing(num_classes, mixup, cutmix)
        self.is_compiled = compiled
        self.train_forward: Callable[[Tensor], tuple[Tensor, list[Tensor]]]
        self.train_forward = classifier.forward_with_auxiliary
        self.phase: Phase | None = None
        # What runs where batches hold stored features or activations; None where they hold images.
        self.tail: Tail | None = None
        # Written into every checkpoint: how the classifier is built, and where the schedule stands.
        self.description: dict[str, Any] = {}
        self.position: dict[str, int] = {}
        self.planned_epochs = 0  # of all phases

        # Of every batch since the last optimizer step: what it counts in the mean, see `batch_weight`.
        self.group: list[float | Tensor] = []
        self.reference = 1  # images in the first of them

        self.train_measured = Measurements(num_classes, "train/")
        self.val_measured = Measurements(num_classes, "val/")
        self.test_measured = Measurements(num_classes, "test/")

    def begin(self, phase: Phase) -> None:
        """Let exactly the phase's stages learn, from images."""
        self.phase = phase
        apply_phase(self.classifier, phase, self.norm)
        self.enter_at(None)

    def enter_at(self, tail: Tail | None) -> None:
        """Take batches of the rows that the tail goes on from, or with None of images."""
        self.tail = tail
        self.train_forward = (tail or self.classifier).forward_with_auxiliary
        if self.is_compiled and (tail is None or not tail.is_head):
            # The graph of the phase before has no gradients for what begins to learn (pytorch#139476).
            torch.compiler.reset()
            self.train_forward = torch.compile(self.train_forward)
        self.train(self.training)

    def use_learning_rate(self, learning_rate: float) -> None:
        """Let the head learn at this rate, the rest in proportion, and have the checkpoints say so."""
        self.rates = (learning_rate, *self.rates[1:])
        self.description["settings"]["optimizer"]["lr"] = learning_rate

    def train(self, mode: bool = True) -> "TransferModule":
        """Set training mode as usual, except that frozen parts stay in evaluation mode."""
        super().train(mode)
        hold_frozen(self.classifier, self.norm)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits `[B, num_classes]` of normalised images `[B, 3, H, W]`, or of the tail's rows."""
        logits: Tensor = (self.tail or self.classifier)(inputs)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Measure a training batch, and return its loss to learn from."""
        labels = batch[1]
        loss, logits = self.training_loss(batch)
        # Mixed images have no single label to compare with.
        probabilities = None if self.mix else logits.detach().softmax(dim=1)
        self.train_measured.add(loss, probabilities, labels)
        # Logging costs as much as a small head's step, so it is done when it is asked for.
        step = self.trainer.global_step + 1
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # Set by one of its parts.
        steps_now = self.trainer.is_last_batch or (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0
        if steps_now and step % max(1, every) == 0:
            self.log("train/loss_step", loss.detach(), on_step=True, on_epoch=False)
        if self.trainer.is_last_batch or step == self.trainer.max_steps:
            self.train_measured.log(self)
        if self.trainer.accumulate_grad_batches == 1:
            return loss
        if not self.group:
            self.reference = len(labels)  # The same in all processes.
        self.group.append(self.batch_weight(labels))
        return loss * (self.group[-1] / self.reference)

    def batch_weight(self, labels: Tensor) -> float | Tensor:
        """Return what the batch's mean loss is divided by: its images, or the sum of their class weights."""
        if self.class_weights is None or self.mix:
            return float(len(labels))
        return self.class_weights[labels].sum()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Make the gradient that of the mean over all images since the last step.

        Lightning divides every batch's loss by `accumulate_grad_batches`, also in the shorter last group.
        """
        del optimizer
        if not self.group:
            return
        total = sum(self.group)
        if self.trainer.world_size > 1:  # Gradients are averaged over the processes.
            gathered = self.all_gather(torch.as_tensor(total, dtype=torch.float32, device=self.device))
            assert isinstance(gathered, Tensor)
            total = gathered.mean()
        factor = self.trainer.accumulate_grad_batches * self.reference / total
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
        self.group = []

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what is minimised, cross-entropy and what is added to it, and the logits `[B, classes]`."""
        inputs, labels = batch
        inputs, targets = self.mix(inputs, labels) if self.mix else (inputs, labels)
        logits, auxiliary = self.train_forward(inputs)
        logits = logits.float()
        loss = self._loss(logits, targets)
        for early in auxiliary:
            loss = loss + self.classifier.backbone.auxiliary_weight * self._loss(early.float(), targets)
        if self.start is not None:
            loss = loss + self.start.penalty()
        return loss, logits

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Measure plain cross-entropy and the metrics on a validation batch; return its logits."""
        del batch_idx
        return self._evaluate(batch, self.val_measured)

    def on_validation_epoch_end(self) -> None:
        """Log what was measured."""
        self.val_measured.log(self)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Measure plain cross-entropy and the metrics on a test batch; return its logits."""
        del batch_idx
        return self._evaluate(batch, self.test_measured)

    def on_test_epoch_end(self) -> None:
        """Log what was measured."""
        self.test_measured.log(self)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and the schedule of this phase, stepped after every batch."""
        assert self.phase is not None, "begin(phase) comes before fit"
        learning_rate, *factors = self.rates
        groups = parameter_groups(self.classifier, learning_rate, *factors)
        for group in groups:
            group["lr"] *= self.phase.rate
        optimizer = self.make_optimizer(groups)
        scheduler = self.make_scheduler(optimizer, *self._steps_of_phase())
        if isinstance(scheduler, ReduceLROnPlateau):
            # Lightning would step it after the checkpoint is saved, and a resumed run would lack that step.
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss", "frequency": NEVER},
            }
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Take the schedule's rates for the first step: a restored optimizer has those of the old one."""
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, LambdaLR):
            take_current_rates(scheduler)

    def on_train_epoch_start(self) -> None:
        """Log the number of the phase, from 1; forget batches of a group that an early end broke off."""
        self.group = []
        self.log("phase", float(self.position.get("phase", 0) + 1))

    def on_train_epoch_end(self) -> None:
        """Step a schedule that depends on the validation, before the epoch's checkpoint is saved."""
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(float(self.trainer.callback_metrics["val/loss"]))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what makes the checkpoint self-contained and resumable."""
        position = {**self.position, "phase_is_over": self.trainer.should_stop}
        checkpoint[DESCRIPTION] = {**self.description, "position": position}

    def _steps_of_phase(self) -> tuple[int, int]:
        """Return the optimizer's steps in all epochs of this phase, and in one of them."""
        assert self.phase is not None
        limit = int(self.trainer.estimated_stepping_batches)  # Builds the loaders, whose length counts below.
        batches = int(self.trainer.num_training_batches)
        per_epoch = max(1, math.ceil(batches / self.trainer.accumulate_grad_batches))
        total = per_epoch * self.phase.epochs
        if self.trainer.max_steps > 0:
            total = min(total, max(1, limit - self.position.get("phase_began_at_step", 0)))
        return total, per_epoch

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(
            logits, targets, weight=self.class_weights, label_smoothing=self.label_smoothing
        )

    def _evaluate(self, batch: Batch, measured: Measurements) -> Tensor:
        inputs, labels = batch
        logits = self(inputs).float()
        # Neither smoothing nor class weights: the loss of two recipes can be compared.
        measured.add(F.cross_entropy(logits, labels), logits.softmax(dim=1), labels)
        return logits
