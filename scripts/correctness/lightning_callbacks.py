"""What Lightning's own callbacks do, each seen in a network of a few numbers."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    EMAWeightAveraging,
    LearningRateFinder,
    ModelCheckpoint,
)
from torch import Tensor, nn
from torch.optim import SGD, Optimizer, lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

Schedule = Callable[[Optimizer], lr_scheduler.LRScheduler]


@dataclass(frozen=True)
class Finding:
    """A pitfall, whether Lightning shows it, and what was seen."""

    pitfall: str
    is_shown: bool
    seen: str


class Toy(L.LightningModule):
    """A backbone with a norm, and a head; the loss is the mean square of the output."""

    def __init__(self, schedule: Schedule | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.head = nn.Linear(2, 1)
        self.schedule = schedule

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the loss."""
        del batch_idx
        output: Tensor = self.head(self.backbone(batch[0]))
        loss = output.square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        """Give the optimizer what learns, and the schedule if there is one."""
        optimizer = SGD([p for p in self.parameters() if p.requires_grad], lr=0.1)
        return ([optimizer], [self.schedule(optimizer)]) if self.schedule else optimizer


class Weight(L.LightningModule):
    """One number that falls by 1 in every step, so that an average of it can be told from it."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))
        self.seen: list[float] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the number itself, whose slope is 1."""
        del batch, batch_idx
        return 1 * self.value

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Note the number."""
        del batch, batch_idx
        self.seen.append(self.value.item())

    test_step = validation_step

    def configure_optimizers(self) -> Optimizer:
        """Step by 1."""
        return SGD(self.parameters(), lr=1.0)


class Groups(Toy):
    """The toy with a rate for the backbone and another for the head."""

    def __init__(self) -> None:
        super().__init__()
        self.lr = 0.1

    def configure_optimizers(self) -> Optimizer:
        """Return two groups."""
        groups = [{"params": self.backbone.parameters(), "lr": 0.001}, {"params": self.head.parameters()}]
        return SGD(groups, lr=self.lr)


def data(batches: int = 2) -> DataLoader[tuple[Tensor, ...]]:
    """Return batches of four random rows `[4, 2]`, the same in every epoch."""
    return DataLoader(TensorDataset(torch.randn(4 * batches, 2)), 4)


def fit(
    module: L.LightningModule, folder: str, epochs: int, *callbacks: L.Callback, **settings: Any
) -> L.Trainer:
    """Fit quietly in a folder, and return the Trainer."""
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data(settings.pop("batches", 2)), **settings)
    return trainer


def resuming(folder: str) -> Finding:
    """Unfreeze at epoch 1, go on from the checkpoint after epoch 1."""

    def callbacks() -> list[L.Callback]:
        saving = ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
        return [saving, BackboneFinetuning(unfreeze_backbone_at_epoch=1)]

    fit(Toy(), folder, 2, *callbacks())
    resumed = Toy()
    trainer = fit(resumed, folder, 3, *callbacks(), ckpt_path=str(Path(folder) / "epoch=1.ckpt"))
    frozen = [name for name, p in resumed.backbone.named_parameters() if not p.requires_grad]
    rate = trainer.optimizers[0].param_groups[-1]["lr"]
    return Finding(
        "resumed after the unfreezing, the backbone stays frozen",
        bool(frozen),
        f"{len(frozen)} of {len(list(resumed.backbone.parameters()))} backbone tensors have "
        f"`requires_grad=False`; their group's rate is {rate:g}",
    )


def held_norms(folder: str) -> Finding:
    """Freeze with `train_bn=False`, and unfreeze."""
    module = Toy()
    callback = BackboneFinetuning(unfreeze_backbone_at_epoch=1, train_bn=False)
    callback.freeze_before_training(module)
    norm = [p.requires_grad for p in module.backbone[1].parameters()]
    fit(module, folder, 2, callback)
    after = [p.requires_grad for p in module.backbone[1].parameters()]
    return Finding(
        "`train_bn=False` leaves BatchNorm learning",
        any(norm) or any(after),
        f"{sum(norm)} of {len(norm)} BatchNorm tensors learn while frozen, {sum(after)} after the unfreezing",
    )


def frozen_statistics(folder: str) -> Finding:
    """Freeze BatchNorm with `freeze(train_bn=False)`, and compare its two modes."""
    del folder
    norm = nn.BatchNorm1d(2)
    BaseFinetuning.freeze(norm, train_bn=False)
    rows = 3 + 2 * torch.randn(16, 2, generator=torch.Generator().manual_seed(0))
    gap = (copy.deepcopy(norm).train()(rows) - copy.deepcopy(norm).eval()(rows)).abs().max().item()
    return Finding(
        "frozen BatchNorm normalises by the batch in training",
        gap > 0,
        f"its output in training differs from that in evaluation by up to {gap:.2f}",
    )


def same_values(folder: str) -> Finding:
    """Unfreeze three blocks with fresh norms, each at its own rate."""
    del folder
    blocks = [nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)) for _ in range(3)]
    optimizer = SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    for block in blocks:
        BaseFinetuning.unfreeze_and_add_param_group(block, optimizer, lr=0.01)
    added = {id(p) for group in optimizer.param_groups for p in group["params"]}
    parameters = [p for block in blocks for p in block.parameters()]
    lost = sum(id(p) not in added for p in parameters)
    return Finding(
        "`filter_on_optimizer` drops parameters whose values equal another's",
        lost > 0,
        f"{lost} of {len(parameters)} tensors of three fresh blocks are in no group",
    )


def schedules(folder: str) -> Finding:
    """Unfreeze under each of torch's schedules."""
    made: dict[str, Schedule] = {
        "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda _: 1.0),
        "SequentialLR (LinearLR, CosineAnnealingLR)": lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o), lr_scheduler.CosineAnnealingLR(o, 4)], [2]
        ),
        "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
        "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, 10),
        "StepLR": lambda o: lr_scheduler.StepLR(o, 4),
        "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 4),
    }
    outcomes = {}
    for name, schedule in made.items():
        try:
            fit(Toy(schedule), folder, 3, BackboneFinetuning(unfreeze_backbone_at_epoch=1))
            outcomes[name] = ""
        except (ValueError, KeyError, IndexError) as error:
            outcomes[name] = type(error).__name__
    failed = [f"{name} ({error})" for name, error in outcomes.items() if error]
    works = [name for name, error in outcomes.items() if not error]
    return Finding(
        "a group added by the unfreezing breaks the schedule",
        bool(failed),
        f"raises with {', '.join(failed) or 'none'}; works with {', '.join(works) or 'none'}",
    )


def averaged_test(folder: str) -> Finding:
    """Average, save, and test the saved average with the same Trainer."""
    module = Weight()
    saving = ModelCheckpoint(folder, "average", save_on_train_epoch_end=True)
    trainer = fit(module, folder, 1, EMAWeightAveraging(decay=0.9), saving, batches=10)
    saved = str(Path(folder) / "average.ckpt")
    average = torch.load(saved, weights_only=True)["state_dict"]["value"].item()
    module.seen.clear()
    trainer.test(module, data(1), ckpt_path=saved, verbose=False)
    tested = module.seen[-1]
    return Finding(
        "`trainer.test(ckpt_path=...)` after a fit with `EMAWeightAveraging` tests the raw weights",
        abs(tested - average) > 1e-6,
        f"the checkpoint's average is {average:.2f}, {tested:.2f} was tested",
    )


def delayed_average(folder: str) -> Finding:
    """Begin to average at step 8, and look at what is validated before."""
    module = Weight()
    callback = EMAWeightAveraging(decay=0.9, update_starting_at_step=8)
    trainer = fit(module, folder, 2, callback, val_dataloaders=data(1))
    validated = module.seen[-1]
    return Finding(
        "an average that begins later validates the first weights until then",
        validated == 0,
        f"from 0, the weight had come to {-trainer.global_step} after 2 epochs, {validated:.0f} was validated",
    )


def found_rate(folder: str) -> Finding:
    """Look for a rate with two groups of different rates."""
    module = Groups()
    trainer = fit(module, folder, 1, LearningRateFinder(num_training_steps=20), batches=20)
    rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
    return Finding(
        "`LearningRateFinder` gives every group the same rate",
        len(set(rates)) == 1,
        f"backbone 0.001 and head 0.1 before; {rates[0]:.2g} and {rates[1]:.2g} after",
    )


def findings() -> list[Finding]:
    """Return what was seen of each pitfall."""
    looks = (
        resuming,
        held_norms,
        frozen_statistics,
        same_values,
        schedules,
        averaged_test,
        delayed_average,
        found_rate,
    )
    found = []
    for look in looks:
        torch.manual_seed(0)
        with TemporaryDirectory() as folder:
            found.append(look(folder))
    return found
