"""The settings of optimizer, scheduler, regularisation, callbacks and loggers, declared."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from graft.errors import UserError
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


class TorchOptimizerSettings(OptimizerSettings):
    """What the optimizers of torch have in common."""

    weight_decay: NumberOrZero
    maximize: bool = False
    foreach: bool | None = None
    capturable: bool = False
    differentiable: bool = False
    fused: bool | None = None

    @model_validator(mode="after")
    def have_one_implementation(self) -> "TorchOptimizerSettings":
        if self.foreach and self.fused:
            raise UserError("optimizer.foreach=true and optimizer.fused=true exclude each other: write one.")
        if self.differentiable and self.fused:
            raise UserError("optimizer.differentiable=true excludes optimizer.fused=true: write one.")
        return self


class AdamSettings(TorchOptimizerSettings):
    """`optimizer=adamw`."""

    betas: Annotated[
        list[ShareBelowOne],
        Field(min_length=2, max_length=2),
        Words("two numbers between 0 and 1, 1 excluded, such as [0.9,0.999]"),
    ]
    eps: PositiveNumber = 1e-8
    amsgrad: bool = False


class SgdSettings(TorchOptimizerSettings):
    """`optimizer=sgd`."""

    momentum: ShareBelowOne
    nesterov: bool
    dampening: ShareBelowOne = 0.0

    @model_validator(mode="after")
    def look_ahead_along_a_momentum(self) -> "SgdSettings":
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise UserError(
                "optimizer.nesterov=true needs an optimizer.momentum above 0 and no optimizer.dampening."
            )
        return self


class PlainSchedulerSettings(PartialSettings):
    """A scheduler without settings: `scheduler=none`, `scheduler=bit_hyperrule`."""


class CosineSettings(PartialSettings):
    """`scheduler=cosine`."""

    warmup: ShareBelowOne


class OneCycleSettings(PartialSettings):
    """`scheduler=one_cycle`."""

    warmup: InnerShare


class PlateauSettings(PartialSettings):
    """`scheduler=plateau`."""

    factor: InnerShare
    patience: CountOrZero


class StepSettings(PartialSettings):
    """`scheduler=step`."""

    step_size: Count
    gamma: PositiveNumber


class CheckpointSettings(TargetSettings):
    """`callbacks.checkpoint`: what keeps best.ckpt and last.ckpt."""

    dirpath: PathText
    monitor: Text
    mode: MonitorMode


class RateMonitorSettings(TargetSettings):
    """`callbacks.lr_monitor`: Lightning's LearningRateMonitor."""

    model_config = ConfigDict(extra="allow")
    logging_interval: Literal["epoch", "step"] | None


class ProgressSettings(TargetSettings):
    """`callbacks.progress`: the progress bar, and a line for every epoch."""

    monitor: Text


class EarlyStoppingSettings(TargetSettings):
    """`callbacks.early_stopping`."""

    monitor: Text
    mode: MonitorMode
    patience: Count
    min_delta: NumberOrZero


class AveragingSettings(TargetSettings):
    """`callbacks.ema`."""

    decay: InnerShare


class TensorBoardSettings(TargetSettings):
    """`logger.tensorboard`."""

    model_config = ConfigDict(extra="allow")
    save_dir: PathText
    name: str | None
    version: str | CountOrZero | None
    default_hp_metric: bool


class CsvSettings(TargetSettings):
    """`logger.csv`."""

    model_config = ConfigDict(extra="allow")
    save_dir: PathText
    name: str | None
    version: str | CountOrZero | None


class MlflowSettings(TargetSettings):
    """`logger.mlflow`."""

    model_config = ConfigDict(extra="allow")
    experiment_name: Text
    tracking_uri: Text | None
    tags: dict[str, Any] | None = None


class WandbSettings(TargetSettings):
    """`logger.wandb`."""

    model_config = ConfigDict(extra="allow")
    project: Text | None
    save_dir: PathText
    offline: bool


OPTIMIZERS: dict[str, type[TargetSettings]] = {
    "torch.optim.AdamW": AdamSettings,
    "torch.optim.SGD": SgdSettings,
}
SCHEDULERS: dict[str, type[TargetSettings]] = {
    "graft.training.schedulers.bit_hyperrule": PlainSchedulerSettings,
    "graft.training.schedulers.constant": PlainSchedulerSettings,
    "graft.training.schedulers.cosine": CosineSettings,
    "graft.training.schedulers.one_cycle": OneCycleSettings,
    "graft.training.schedulers.plateau": PlateauSettings,
    "graft.training.schedulers.step": StepSettings,
}
CALLBACKS: dict[str, type[TargetSettings]] = {
    "graft.training.callbacks.checkpoints.BestAndLast": CheckpointSettings,
    "lightning.pytorch.callbacks.LearningRateMonitor": RateMonitorSettings,
    "graft.training.callbacks.progress.Progress": ProgressSettings,
    "graft.training.callbacks.early_stopping.StopWhenStalled": EarlyStoppingSettings,
    "graft.training.callbacks.averaging.ExponentialMovingAverage": AveragingSettings,
}
LOGGERS: dict[str, type[TargetSettings]] = {
    "lightning.pytorch.loggers.TensorBoardLogger": TensorBoardSettings,
    "lightning.pytorch.loggers.CSVLogger": CsvSettings,
    "lightning.pytorch.loggers.MLFlowLogger": MlflowSettings,
    "lightning.pytorch.loggers.WandbLogger": WandbSettings,
}
