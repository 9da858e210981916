"""The settings of optimizer, scheduler, regularisation and callbacks, declared."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from graft.settings import (
    Count,
    CountOrZero,
    InnerShare,
    NumberOrZero,
    PartialSettings,
    PathText,
    PositiveNumber,
    Settings,
    ShareBelowOne,
    TargetSettings,
    Text,
    Words,
)

Freeze = bool | Count
LearningRate = Literal["auto"] | PositiveNumber | None
Compile = bool | Literal["auto"]
MonitorMode = Literal["auto", "min", "max"]


class RegularisationSettings(Settings):
    """`regularisation`, beside weight decay, dropout and augmentation."""

    l2_sp: NumberOrZero
    mixup: NumberOrZero
    cutmix: NumberOrZero


class OptimizerSettings(PartialSettings):
    """`optimizer`, whichever it is; the arguments of its class may be added."""

    model_config = ConfigDict(extra="allow")
    lr: PositiveNumber


class AdamSettings(OptimizerSettings):
    weight_decay: NumberOrZero
    betas: Annotated[
        list[ShareBelowOne],
        Field(min_length=2, max_length=2),
        Words("two numbers between 0 and 1, 1 excluded, such as [0.9,0.999]"),
    ]
    eps: PositiveNumber = 1e-8


class SgdSettings(OptimizerSettings):
    weight_decay: NumberOrZero
    momentum: ShareBelowOne
    nesterov: bool


class CosineSettings(PartialSettings):
    warmup: ShareBelowOne


class OneCycleSettings(PartialSettings):
    warmup: InnerShare


class PlateauSettings(PartialSettings):
    factor: InnerShare
    patience: CountOrZero


class StepSettings(PartialSettings):
    step_size: Count
    gamma: PositiveNumber


class CheckpointSettings(TargetSettings):
    """`callbacks.checkpoint`: what keeps best.ckpt and last.ckpt."""

    dirpath: PathText
    monitor: Text
    mode: MonitorMode


class ProgressSettings(TargetSettings):
    """`callbacks.progress`: the progress bar, and a line for every epoch."""

    monitor: Text


class EarlyStoppingSettings(TargetSettings):
    monitor: Text
    mode: MonitorMode
    patience: Count
    min_delta: NumberOrZero


class AveragingSettings(TargetSettings):
    decay: InnerShare


OPTIMIZERS: dict[str, type[TargetSettings]] = {
    "torch.optim.AdamW": AdamSettings,
    "torch.optim.SGD": SgdSettings,
}
SCHEDULERS: dict[str, type[TargetSettings]] = {
    "graft.training.schedulers.bit_hyperrule": PartialSettings,
    "graft.training.schedulers.constant": PartialSettings,
    "graft.training.schedulers.cosine": CosineSettings,
    "graft.training.schedulers.one_cycle": OneCycleSettings,
    "graft.training.schedulers.plateau": PlateauSettings,
    "graft.training.schedulers.step": StepSettings,
}
CALLBACKS: dict[str, type[TargetSettings]] = {
    "graft.training.callbacks.checkpoints.BestAndLast": CheckpointSettings,
    "graft.training.callbacks.progress.Progress": ProgressSettings,
    "graft.training.callbacks.early_stopping.StopWhenStalled": EarlyStoppingSettings,
    "graft.training.callbacks.averaging.ExponentialMovingAverage": AveragingSettings,
}
