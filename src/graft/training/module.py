"""The LightningModule: forward, the three steps with their metrics, the optimizer."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from graft.models.checkpoints import DESCRIPTION
from graft.models.classifier import Classifier
from graft.models.folding import FoldedTraining
from graft.models.freezing import HEAD, Phase, apply_phase, hold_frozen
from graft.tasks.measurements import Measurements
from graft.tasks.task import Task
from graft.training.accumulation import Accumulation, class_weights_of
from graft.training.lightning_internals import is_stopping, time_is_up
from graft.training.optimizers import LearningRates, parameter_groups
from graft.training.regularisation import BatchMixing, StartingPoint
from graft.training.schedulers import take_current_rates

Batch = tuple[Tensor, Tensor]
NEVER = 10**9  # Lightning's frequency, in epochs, of a scheduler that it must not step


@dataclass(frozen=True)
class Position:
    """The phase that a run is in, and where it began; epochs and steps are counted over all phases."""

    phase: int = 0  # index into the phases
    phase_began_at: int = 0  # epoch
    phase_began_at_step: int = 0


class TransferModule(L.LightningModule):
    """Trains the parameters that a phase makes trainable; measures the loss and the task's metrics.

    Batches are images `[B, C, H, W]` or cached features of the frozen backbone `[B, num_features]`, with
    targets. `optimizer` takes parameter groups; `scheduler` takes the optimizer, the phase's number of steps
    and the steps of one epoch. `norm` is train or frozen, see `graft.models.freezing`. `l2_sp` and `mix`: see
    `graft.training.regularisation`.
    """

    def __init__(
        self,
        classifier: Classifier,
        task: Task,
        loss: nn.Module,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        scheduler: Callable[..., LRScheduler],
        learning_rates: LearningRates,
        phases: Sequence[Phase],
        norm: str = "train",
        l2_sp: float = 0.0,
        mix: BatchMixing | None = None,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.task = task
        self.loss = loss
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.learning_rates = learning_rates
        self.phases = phases
        self.norm = norm
        self.starting_point = StartingPoint(classifier.backbone, l2_sp) if l2_sp else None
        self.mix = mix
        self.is_compiled = compiled
        self.train_forward: Callable[[Tensor], tuple[Tensor, list[Tensor]]]
        self.train_forward = FoldedTraining(classifier)
        # Written into every checkpoint: how the classifier is built, and what a resumed run has to share.
        self.description: dict[str, Any] = {}
        self.position = Position()
        self.accumulation = Accumulation()
        self.train_measured = Measurements(task, "train/")
        self.val_measured = Measurements(task, "val/")
        self.test_measured = Measurements(task, "test/")

    @property
    def phase(self) -> Phase:
        """The phase that the position is in."""
        return self.phases[self.position.phase]

    @property
    def planned_epochs(self) -> int:
        """The epochs of the whole run if no further phase stops early."""
        return self.position.phase_began_at + sum(p.epochs for p in self.phases[self.position.phase :])

    def begin(self, position: Position) -> None:
        """Enter a phase: make exactly its parameters trainable, and compile the training step anew."""
        self.position = position
        apply_phase(self.classifier, self.phase, self.norm)
        self.train_forward = FoldedTraining(self.classifier)
        if self.is_compiled and self.phase.trainable != (HEAD,):
            # The graph of the phase before has no gradients for what is trainable now (pytorch#139476).
            torch.compiler.reset()
            self.train_forward = torch.compile(self.classifier.forward_with_auxiliary)
        self.train(self.training)  # Frozen parts go to evaluation mode.

    def use_task(self, task: Task) -> None:
        """Test with a task whose decision was fitted to the validation split."""
        self.task = task
        self.test_measured = Measurements(task, "test/").to(self.device)

    def train(self, mode: bool = True) -> "TransferModule":
        """Set training mode as usual, except that frozen parts stay in evaluation mode."""
        super().train(mode)
        hold_frozen(self.classifier, self.norm)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits `[B, C]` of normalised images, or of cached features."""
        logits: Tensor = self.classifier.head(inputs) if is_features(inputs) else self.classifier(inputs)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        targets = batch[1]
        loss, logits = self.training_loss(batch)
        # Mixed images have no target of their own to compare with.
        self.train_measured.add(loss, None if self.mix else self.task.scores(logits.detach()), targets)
        # Logging costs as much as a small head's step, so it is done when it is asked for.
        next_step = self.trainer.global_step + 1
        ends_group = self.trainer.is_last_batch or (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0
        if ends_group and next_step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.log("train/loss_step", loss.detach(), on_step=True, on_epoch=False)
        if self.trainer.accumulate_grad_batches == 1:
            return loss
        return self.accumulation.weighed(loss, targets, None if self.mix else class_weights_of(self.loss))

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log the epoch's training metrics after its last batch, also where it is cut short."""
        if self.trainer.is_last_batch or is_stopping(self.trainer):
            self.train_measured.log(self)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.accumulation.rescale_gradients(self, self.trainer)

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what is minimised, the loss and what is added to it, and the logits `[B, C]`."""
        inputs, targets = self.mix(*batch) if self.mix else batch
        auxiliary: list[Tensor] = []
        if is_features(inputs):
            logits = self.classifier.head(inputs)
        else:
            logits, auxiliary = self.train_forward(inputs)
        logits = logits.float()
        loss: Tensor = self.loss(logits, targets)
        for early in auxiliary:
            loss = loss + self.classifier.backbone.auxiliary_weight * self.loss(early.float(), targets)
        if self.starting_point is not None:
            loss = loss + self.starting_point.penalty()
        return loss, logits

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Measure the plain loss and the metrics on a validation batch; return its logits."""
        return self._evaluate(batch, self.val_measured)

    def on_validation_epoch_end(self) -> None:
        self.val_measured.log(self)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Measure the plain loss and the metrics on a test batch; return its logits."""
        return self._evaluate(batch, self.test_measured)

    def on_test_epoch_end(self) -> None:
        self.test_measured.log(self)

    def _evaluate(self, batch: Batch, measured: Measurements) -> Tensor:
        inputs, targets = batch
        logits = self(inputs).float()
        # Neither smoothing nor class weights: losses of differently trained networks can be compared.
        measured.add(self.task.plain_loss(logits, targets), self.task.scores(logits), targets)
        return logits

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and the schedule of this phase, stepped with every step of the optimizer."""
        groups = parameter_groups(self.classifier, self.learning_rates)
        for group in groups:
            group["lr"] *= self.phase.rate_factor
        optimizer = self.make_optimizer(groups)
        total_steps, steps_per_epoch = self._steps_of_phase()
        # By name: a scheduler of torch would take them for its own arguments.
        scheduler = self.make_scheduler(optimizer, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
        if isinstance(scheduler, ReduceLROnPlateau):
            # Lightning would step it after the checkpoint is saved, and a resumed run would lack that step.
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss", "frequency": NEVER},
            }
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Take the schedule's rates for the first step: a restored optimizer has the old schedule's."""
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, LambdaLR):
            take_current_rates(scheduler)

    def on_train_epoch_start(self) -> None:
        """Log the number of the phase, from 1; drop an unfinished group of accumulated batches."""
        self.accumulation = Accumulation()
        self.log("phase", float(self.position.phase + 1))

    def on_train_epoch_end(self) -> None:
        """Step a schedule that depends on the validation, before the epoch's checkpoint is saved."""
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(float(self.trainer.callback_metrics["val/loss"]))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # A run that its time has ended may continue within the phase; early stopping ends the phase itself.
        stopped_early = is_stopping(self.trainer) and not time_is_up(self.trainer)
        checkpoint[DESCRIPTION] = {
            **self.description,
            "task": self.task.describe(),
            "learning_rate": self.learning_rates.head,
            "position": {**vars(self.position), "stopped_early": stopped_early},
        }

    def _steps_of_phase(self) -> tuple[int, int]:
        """Return the optimizer's steps in all epochs of this phase, and in one of them."""
        limit = int(self.trainer.estimated_stepping_batches)  # Builds the loaders, whose length counts below.
        batches = int(self.trainer.num_training_batches)
        per_epoch = max(1, math.ceil(batches / self.trainer.accumulate_grad_batches))
        total = per_epoch * self.phase.epochs
        if self.trainer.max_steps > 0:
            total = min(total, max(1, limit - self.position.phase_began_at_step))
        return total, per_epoch


def is_features(inputs: Tensor) -> bool:
    """Return whether a batch holds cached features, not images."""
    return inputs.ndim == 2
