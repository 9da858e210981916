"""The settings of backbone, head and finetuning schedule, declared."""

import pkgutil
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from graft.errors import UserError, suggestion
from graft.settings import (
    Count,
    PartialSettings,
    PositiveNumber,
    Settings,
    ShareBelowOne,
    Target,
    TargetSettings,
    Text,
    Words,
)

AUTO, OWN = "auto", "module"
FOLDER = Path(__file__).parent / "backbones" / "sources"
SOURCES = (AUTO, *sorted(module.name for module in pkgutil.iter_modules([str(FOLDER)])))


def known_source(source: str) -> str:
    """Return a `model.source`; UserError where the folder has no such module."""
    if source not in SOURCES:
        raise UserError(
            f"model.source={source}: there is no such source.{suggestion(str(source), SOURCES)} "
            f"Choices: {', '.join(SOURCES)}."
        )
    return source


class PreprocessingSettings(Settings):
    size: Count
    mean: Annotated[list[float], Field(min_length=1)]
    std: Annotated[list[PositiveNumber], Field(min_length=1)]
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]


class ModelSettings(Settings):
    source: Annotated[Text, AfterValidator(known_source), Words(f"one of {', '.join(SOURCES)}")]
    name: Text
    weights: Text | None
    weights_prefix: Text | None
    options: dict[str, Any]
    stages: Count
    target: Target | None = Field(None, alias="_target_")
    preprocessing: PreprocessingSettings | None = None

    @model_validator(mode="after")
    def check_own(self) -> "ModelSettings":
        given = (self.target is not None, self.preprocessing is not None)
        if self.source == OWN and not all(given):
            raise UserError(
                f"model.source={OWN} needs model._target_ and model.preprocessing: "
                "write model=own model._target_=my_package.MyNet, the import path of your network."
            )
        if self.source != OWN and any(given):
            key = "_target_" if given[0] else "preprocessing"
            raise UserError(f"model.{key} is not for model.source={self.source}: write model=own.")
        return self


class HeadSettings(Settings):
    dropout: ShareBelowOne
    hidden: Annotated[int, Field(ge=1, le=1_000_000)] | None
    solver: Literal["lbfgs"] | None  # room: features
    l2: Literal["validation", "cv"] | PositiveNumber  # room: features


Stages = Annotated[list[Text], Field(min_length=1)]


class GradualSettings(PartialSettings):
    epochs_per_stage: Count


class LinearProbeSettings(PartialSettings):
    probe_epochs: Count
    patience: Count
    rate: PositiveNumber


class SelectSettings(PartialSettings):
    train: Stages


class FinetuningSettings(Settings):
    """`finetuning`: which stages are trained when, and at which share of the learning rate."""

    schedule: TargetSettings
    head_lr_multiplier: PositiveNumber
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    norm: Literal["auto", "train", "frozen"]


STANDARD = "graft.models.freezing.standard"
SELECT = "graft.models.schedules.select"
SCHEDULES: dict[str, type[TargetSettings]] = {
    STANDARD: PartialSettings,  # `freeze` says what is trained.
    "graft.models.schedules.gradual": GradualSettings,
    "graft.models.schedules.lp_ft": LinearProbeSettings,
    SELECT: SelectSettings,
}
