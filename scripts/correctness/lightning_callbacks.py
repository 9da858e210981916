"""What Lightning's own callbacks do, each seen in a network of a few numbers."""

import copy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    EMAWeightAveraging,
    LearningRateFinder,
    ModelCheckpoint,
)
from torch import nn
from torch.optim import SGD, lr_scheduler

from correctness.toys import Groups, Schedule, Toy, Weight, data, fit


@dataclass(frozen=True)
class Finding:
    """A pitfall, whether Lightning shows it, and what was seen."""

    pitfall: str
    is_shown: bool
    seen: str


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
        "resumed after unfreezing, the backbone stays frozen",
        bool(frozen),
        f"{len(frozen)} of {len(list(resumed.backbone.parameters()))} backbone tensors have "
        f"`requires_grad=False`; their group's learning rate is {rate:g}",
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
        "`train_bn=False` leaves BatchNorm trainable",
        any(norm) or any(after),
        f"{sum(norm)} of {len(norm)} BatchNorm tensors are trainable while frozen, "
        f"{sum(after)} after unfreezing",
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
        "a parameter group added by unfreezing breaks the scheduler",
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
        "an average that starts later validates the initial weights until then",
        validated == 0,
        f"the weight had come from 0 to {-trainer.global_step}, {validated:.0f} was validated",
    )


def delay_in_epochs(folder: str) -> Finding:
    """Ask for an average from the third epoch on, and look at what is validated after the first."""
    module = Weight()
    callback = EMAWeightAveraging(decay=0.9, update_starting_at_epoch=2)
    trainer = fit(module, folder, 1, callback, val_dataloaders=data(1))
    validated = module.seen[-1]
    return Finding(
        "`update_starting_at_epoch` alone delays nothing",
        validated not in (0, -trainer.global_step),
        f"from 0 to {-trainer.global_step} in the first epoch, {validated:.1f} was validated: an average",
    )


def found_rate(folder: str) -> Finding:
    """Look for a rate with two groups of different rates."""
    module = Groups()
    trainer = fit(module, folder, 1, LearningRateFinder(num_training_steps=20), batches=20)
    rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
    return Finding(
        "`LearningRateFinder` gives every group the same learning rate",
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
        delay_in_epochs,
        found_rate,
    )
    found = []
    for look in looks:
        torch.manual_seed(0)
        with TemporaryDirectory() as folder:
            found.append(look(folder))
    return found
