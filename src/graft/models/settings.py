"""The settings of backbone, head and finetuning schedule, declared."""

from typing import Annotated, Any, Literal

from pydantic import Field

from graft.settings import (
    Count,
    PartialSettings,
    PositiveNumber,
    Settings,
    ShareBelowOne,
    TargetSettings,
    Text,
)


class ModelSettings(Settings):
    """`model`: the pretrained network."""

    source: Literal["auto", "packaged", "torchvision", "timm"]
    name: Text
    weights: Text | None
    weights_prefix: Text | None
    options: dict[str, Any]


class HeadSettings(Settings):
    """`head`: the new classification layers."""

    dropout: ShareBelowOne
    hidden: Annotated[int, Field(ge=1, le=1_000_000)] | None
    solver: Literal["lbfgs"] | None


class ScheduleSettings(PartialSettings):
    """`finetuning.schedule` of `finetuning=standard`: `freeze` says what is trained."""


class GradualSettings(PartialSettings):
    """`finetuning.schedule` of `finetuning=gradual`."""

    epochs_per_stage: Count


class LinearProbeSettings(PartialSettings):
    """`finetuning.schedule` of `finetuning=lp_ft`."""

    probe_epochs: Count
    patience: Count
    rate: PositiveNumber


class SelectSettings(PartialSettings):
    """`finetuning.schedule` of `finetuning=select`."""

    train: Annotated[list[Text], Field(min_length=1)]


class FinetuningSettings(Settings):
    """`finetuning`: which stages are trained when, and at which share of the learning rate."""

    schedule: TargetSettings
    head_lr_multiplier: PositiveNumber
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    norm: Literal["train", "frozen"]


class SelectiveFinetuningSettings(FinetuningSettings):
    """`finetuning=select`: the same, with the stages that are trained."""

    train: Annotated[list[Text], Field(min_length=1)]


STANDARD = "graft.models.freezing.standard"
SELECT = "graft.models.freezing.select"
SCHEDULES: dict[str, type[TargetSettings]] = {
    STANDARD: ScheduleSettings,
    "graft.models.freezing.gradual": GradualSettings,
    "graft.models.freezing.lp_ft": LinearProbeSettings,
    SELECT: SelectSettings,
}
