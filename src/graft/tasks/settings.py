"""The settings of task and loss, declared."""

from typing import Any, Literal

from pydantic import ConfigDict

from graft.settings import NumberOrZero, PositiveNumber, ShareBelowOne, TargetSettings, Text


class TaskSettings(TargetSettings):
    """`task`: the kind of answer."""

    monitor: Text
    metrics: dict[str, dict[str, Any]]


class MultilabelSettings(TaskSettings):
    separator: Text


class LossSettings(TargetSettings):
    """`loss`, whichever it is."""

    class_weights: Literal["balanced"] | None = None


class OwnLossSettings(LossSettings):
    """A loss that is not declared; the signature of its class says what it takes."""

    model_config = ConfigDict(extra="allow")


class CrossEntropySettings(LossSettings):
    label_smoothing: ShareBelowOne


class FocalSettings(LossSettings):
    gamma: NumberOrZero


class HuberSettings(LossSettings):
    delta: PositiveNumber


TASKS: dict[str, type[TargetSettings]] = {
    "graft.tasks.multiclass.Multiclass": TaskSettings,
    "graft.tasks.multilabel.Multilabel": MultilabelSettings,
    "graft.tasks.regression.Regression": TaskSettings,
}
LOSSES: dict[str, type[TargetSettings]] = {
    "torch.nn.CrossEntropyLoss": CrossEntropySettings,
    "graft.tasks.losses.FocalLoss": FocalSettings,
    "torch.nn.HuberLoss": HuberSettings,
}
