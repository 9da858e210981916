"""The ways to freeze that are compared: Graft, Lightning's callbacks, tutorials, AutoTimm, fastai."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import BackboneFinetuning, BaseFinetuning, ModelCheckpoint
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from correctness.autotimm_way import train_autotimm
from correctness.experiment import (
    CLASSES,
    EPOCHS,
    FROZEN_EPOCHS,
    LEARNING_RATE,
    FirstBatch,
    Trained,
    Way,
    batches,
    pretrained_backbone,
)
from correctness.fastai_ways import train_fastai
from graft.data.module import ImageDataModule
from graft.features.cache import FeatureCache  # room: features
from graft.models.backbones import build_head
from graft.models.checkpoints import DESCRIPTION, AtomicCheckpointIO, read_checkpoint
from graft.models.classifier import Classifier
from graft.models.freezing import named_stages, standard
from graft.tasks.multiclass import Multiclass
from graft.training import schedulers
from graft.training.module import Position, TransferModule
from graft.training.optimizers import LearningRates
from graft.training.phases import fit_phases
from graft.training.resuming import Resumption


class Plain(L.LightningModule):
    """A backbone and a linear head, as in a tutorial; the optimizer gets the trainable parameters."""

    def __init__(self, optimize_head_only: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        backbone = pretrained_backbone()
        self.backbone = backbone.network
        self.head = nn.Linear(backbone.num_features, CLASSES)
        self.optimize_head_only = optimize_head_only

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the cross-entropy of a batch."""
        del batch_idx
        images, labels = batch
        return F.cross_entropy(self.head(self.backbone(images)), labels)

    def configure_optimizers(self) -> Optimizer:
        """Filter by `requires_grad`, as `BaseFinetuning` asks for, or take the head as its example does."""
        if self.optimize_head_only:
            return AdamW(self.head.parameters(), LEARNING_RATE)
        return AdamW(filter(lambda p: p.requires_grad, self.parameters()), LEARNING_RATE)


class OwnCallback(BaseFinetuning):
    """Freezes BatchNorm too, with Lightning's own function, and unfreezes all."""

    def freeze_before_training(self, pl_module: L.LightningModule) -> None:
        """Freeze the backbone."""
        self.freeze(cast(nn.Module, pl_module.backbone), train_bn=False)

    def finetune_function(self, pl_module: L.LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Unfreeze the backbone when its epoch has come."""
        if epoch == FROZEN_EPOCHS:
            self.unfreeze_and_add_param_group(cast(nn.Module, pl_module.backbone), optimizer)


def trainer(folder: Path, epochs: int, *callbacks: L.Callback, **settings: Any) -> L.Trainer:
    """Return a quiet Trainer on the CPU that saves `epoch=N.ckpt` after every epoch N, counted from 0."""
    saving = ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    return L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[saving, *callbacks],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


def checkpoint(folder: Path, epochs: int) -> Path:
    """Return what `trainer` saved when so many epochs were done."""
    return folder / f"epoch={epochs - 1}.ckpt"


def optimized(fitted: L.Trainer) -> list[Tensor]:
    """Return the tensors in the optimizer."""
    return [tensor for group in fitted.optimizers[0].param_groups for tensor in group["params"]]


def train_with_lightning(
    module: Callable[[], L.LightningModule],
    callback: Callable[[], L.Callback] | None,
    folder: Path,
    epochs: int,
    resume: int | None,
) -> Trained:
    """Fit a module that has a `backbone`, with the callback that freezes it."""
    built = module()
    backbone = cast(nn.Module, built.backbone)
    first = FirstBatch(backbone)
    fitting = trainer(folder, epochs, *([callback()] if callback else []))
    fitting.fit(built, batches(), ckpt_path=str(checkpoint(folder, resume)) if resume else None)
    return Trained(built, backbone, optimized(fitting), first.gap)


def tutorial() -> L.LightningModule:
    """Return the plain module with `requires_grad=False` in the backbone, and nothing else."""
    module = Plain()
    module.backbone.requires_grad_(False)
    return module


class SameBatches(L.LightningDataModule):
    """The batches that all the others get."""

    def train_dataloader(self) -> Any:
        """Return them."""
        return batches()


def train_graft(folder: Path, epochs: int, resume: int | None) -> Trained:
    """Fit Graft's module through Graft's phases, as `graft.training.phases` does."""
    torch.manual_seed(0)
    backbone = pretrained_backbone()
    classifier = Classifier(backbone, build_head(backbone, CLASSES))
    optimizer = partial(AdamW, weight_decay=0.01)
    module = TransferModule(
        classifier,
        Multiclass({}, columns=("intact", "broken")),
        nn.CrossEntropyLoss(),
        optimizer,
        schedulers.constant,
        LearningRates(LEARNING_RATE),
        standard(named_stages(classifier), FROZEN_EPOCHS if epochs == EPOCHS else True, epochs),
    )
    first = FirstBatch(backbone.network)
    fitting = trainer(folder, epochs, plugins=[AtomicCheckpointIO()])
    fit_phases(
        fitting,
        module,
        cast(ImageDataModule, SameBatches()),
        resumption=resumption(checkpoint(folder, resume), resume) if resume else None,
        searches_rate=False,
        cache=FeatureCache(cache=False, views=0, dtype="float32", engine="torch"),  # room: features
    )
    return Trained(module, backbone.network, optimized(fitting), first.gap)


def resumption(path: Path, epochs: int) -> Resumption:
    """Return where in its schedule a checkpoint was saved."""
    saved = read_checkpoint(path)[DESCRIPTION]["position"]
    stopped_early = saved.pop("stopped_early")
    return Resumption(path, Position(**saved), stopped_early, epochs, {}, "", LEARNING_RATE)


def ways() -> list[Way]:
    """Return all that are compared."""
    unfreeze = partial(BackboneFinetuning, unfreeze_backbone_at_epoch=FROZEN_EPOCHS)
    held = partial(unfreeze, train_bn=False)
    head_only = partial(Plain, optimize_head_only=True)
    return [
        Way("Graft, `freeze=2 finetuning.norm=train`", train_graft),
        Way("Lightning `BackboneFinetuning()`", partial(train_with_lightning, Plain, unfreeze)),
        Way(
            "Lightning `BackboneFinetuning(train_bn=False)`, optimizer of the head as in its example",
            partial(train_with_lightning, head_only, held),
        ),
        Way(
            "Lightning `BaseFinetuning.freeze(train_bn=False)`",
            partial(train_with_lightning, Plain, OwnCallback),
        ),
        Way("`requires_grad=False` alone", partial(train_with_lightning, tutorial, None), unfreezes=False),
        Way("AutoTimm `freeze_backbone=True`", train_autotimm, unfreezes=False, needs="autotimm"),
        Way("fastai `freeze()`", partial(train_fastai, True), needs="fastai"),
        Way("fastai `train_bn=False`, `BnFreeze`", partial(train_fastai, False), needs="fastai"),
    ]
