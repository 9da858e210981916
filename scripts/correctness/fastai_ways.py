"""fastai's freezing: `Learner.freeze()`, with and without training the norms of what is frozen."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from correctness.experiment import (
    BATCH_SIZE,
    CLASSES,
    FROZEN_EPOCHS,
    LEARNING_RATE,
    FirstBatch,
    Trained,
    pretrained_backbone,
    solar_cells,
)


def train_fastai(train_bn: bool, folder: Path, epochs: int, resume: int | None) -> Trained:
    """Fit frozen, unfreeze, fit, with `SaveModelCallback` after every epoch.

    `train_bn=False` is for `Learner`, and goes with the callback `BnFreeze`. A new `Learner` is
    unfrozen; a resumed one loads the model and the optimizer and goes on at `start_epoch`.
    """
    from fastai.callback.training import BnFreeze
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    from fastai.torch_core import params

    torch.manual_seed(0)
    backbone = pretrained_backbone()
    network = nn.Sequential(backbone.network, nn.Linear(backbone.num_features, CLASSES))
    first = FirstBatch(backbone.network)
    loaders = [DataLoader(solar_cells(), bs=BATCH_SIZE, num_workers=0) for _ in range(2)]
    learner: Any = Learner(
        DataLoaders(*loaders, device="cpu"),
        network,
        loss_func=nn.CrossEntropyLoss(),
        lr=LEARNING_RATE,
        splitter=lambda model: [params(part) for part in model],
        train_bn=train_bn,
        cbs=[] if train_bn else [BnFreeze()],
        path=folder,
    )
    with learner.no_bar(), learner.no_logging():
        fit(learner, epochs, resume or 0)
    optimized = [tensor for group in learner.opt.param_lists for tensor in group]
    return Trained(network, backbone.network, optimized, first.gap)


def fit(learner: Any, epochs: int, done: int) -> None:
    """Fit the frozen epochs and the others, from the saved model on where some are done."""
    from fastai.callback.tracker import SaveModelCallback

    for began, ends, name in ((0, FROZEN_EPOCHS, "frozen"), (FROZEN_EPOCHS, epochs, "unfrozen")):
        if done >= ends or began >= ends:
            continue
        learner.freeze() if name == "frozen" else learner.unfreeze()
        if done > began:
            learner.load(f"{name}_{done - began - 1}")
        saving = SaveModelCallback(fname=name, every_epoch=1, with_opt=True)
        learner.fit(ends - began, start_epoch=max(0, done - began), cbs=[saving])
