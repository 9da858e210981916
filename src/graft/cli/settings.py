"""The settings of a run: the sum of what the rooms declare, and their check before anything slow."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, create_model

from graft.cli.checking import validated
from graft.cli.signatures import check_targets
from graft.data.settings import AUGMENTATIONS, DATA, CacheSettings, FolderSettings, check_files
from graft.errors import UserError, suggestion
from graft.features.settings import FeatureSettings
from graft.models.settings import (
    SCHEDULES,
    SELECT,
    STANDARD,
    FinetuningSettings,
    HeadSettings,
    LinearProbeSettings,
    ModelSettings,
    SelectiveFinetuningSettings,
)
from graft.settings import OwnPartialSettings, OwnTargetSettings, PathText, Settings, TargetSettings, Text
from graft.training.settings import (
    CALLBACKS,
    LOGGERS,
    METRICS,
    OPTIMIZERS,
    SCHEDULERS,
    Compile,
    Freeze,
    LearningRate,
    LossSettings,
    MonitorMode,
    OptimizerSettings,
)
from graft.training.trainer_options import check_trainer_options
from graft.training.trainer_settings import TrainerSettings

CHECKPOINT = "checkpoint"  # The one callback that a run cannot do without.


class PathSettings(Settings):
    """`paths`: where things lie."""

    root: PathText
    data: PathText
    logs: PathText
    run: PathText


class RunSettings(Settings):
    """The settings of a run; `declared_settings` narrows the entries that have a `_target_`."""

    freeze: Freeze
    learning_rate: LearningRate
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    monitor: Text
    monitor_mode: MonitorMode
    resume: PathText | None
    compile: Compile
    calibrate: bool
    report: bool
    head: HeadSettings
    features: FeatureSettings
    cache: CacheSettings
    loss: LossSettings
    paths: PathSettings
    augmentation: TargetSettings
    model: ModelSettings
    trainer: TrainerSettings
    finetuning: FinetuningSettings
    optimizer: TargetSettings
    scheduler: TargetSettings
    data: TargetSettings
    callbacks: Settings
    logger: Settings


def check_settings(config: DictConfig) -> None:
    """Raise a UserError for a setting that does not fit; torch is only imported for undeclared ones."""
    unresolved: dict[str, str] = {}
    values = dict(plain_entries(config, "", unresolved))
    declared = declared_settings(values)
    settings = validated(declared, values)
    for line in unresolved.values():
        raise UserError(line)
    check_trainer_options(values["trainer"])
    refuse_conflicts(settings)
    if isinstance(settings.data, FolderSettings):
        check_files(settings.data)
    check_targets(declared, values)


def plain_entries(node: DictConfig, prefix: str, unresolved: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a node as plain, resolved values, without those that are left open (`???`).

    `unresolved` gets a line for each reference that leads nowhere; its value stays as it is written.
    """
    for name in map(str, node):
        if OmegaConf.is_missing(node, name):
            continue
        key = f"{prefix}{name}"
        try:
            value = node[name]
            if isinstance(value, DictConfig):
                value = dict(plain_entries(value, f"{key}.", unresolved))
            elif isinstance(value, ListConfig):
                value = OmegaConf.to_container(value, resolve=True)
        except OmegaConfBaseException as error:
            written: Any = OmegaConf.to_container(node, resolve=False)
            value = written[name]
            unresolved[key] = f"{key}={value}: {str(error).splitlines()[0]}."
        yield name, value


def declared_settings(values: Mapping[str, Any]) -> type[RunSettings]:
    """Return the declaration of a run, for the classes that the entries of `values` name."""
    augmentation = chosen(AUGMENTATIONS, values.get("augmentation"), OwnTargetSettings)
    data = chosen(DATA, values.get("data"), OwnTargetSettings)
    if "augmentation" in data.model_fields:
        data = create_model(data.__name__, __base__=data, augmentation=(augmentation, ...))
    schedule = entry_of(values, "finetuning", "schedule")
    is_selective = isinstance(schedule, Mapping) and schedule.get("_target_") == SELECT
    finetuning = create_model(
        "Finetuning",
        __base__=SelectiveFinetuningSettings if is_selective else FinetuningSettings,
        schedule=(chosen(SCHEDULES, schedule, OwnPartialSettings), ...),
    )
    return create_model(
        "Run",
        __base__=RunSettings,
        augmentation=(augmentation, ...),
        data=(data, ...),
        finetuning=(finetuning, ...),
        optimizer=(chosen(OPTIMIZERS, values.get("optimizer"), OptimizerSettings), ...),
        scheduler=(chosen(SCHEDULERS, values.get("scheduler"), OwnPartialSettings), ...),
        callbacks=(named_entries("Callbacks", CALLBACKS, values.get("callbacks"), CHECKPOINT), ...),
        logger=(named_entries("Loggers", LOGGERS, values.get("logger")), ...),
    )


def entry_of(values: Mapping[str, Any], *names: str) -> Any:
    """Return a nested entry, None where there is none."""
    found: Any = values
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def chosen(
    known: Mapping[str, type[TargetSettings]], entry: Any, other: type[TargetSettings]
) -> type[TargetSettings]:
    """Return the declaration of the class that an entry names; `other` for one that is not declared."""
    target = entry.get("_target_") if isinstance(entry, Mapping) else None
    return known.get(target, other) if isinstance(target, str) else other


def named_entries(
    name: str, known: Mapping[str, type[TargetSettings]], entries: Any, needed: str | None = None
) -> type[Settings]:
    """Return the declaration of callbacks or loggers: one entry a name, null for one that is left out."""
    fields: dict[str, Any] = {}
    for key, entry in entries.items() if isinstance(entries, Mapping) else ():
        declared = chosen(known, entry, OwnTargetSettings)
        fields[key] = (declared, ...) if key == needed else (declared | None, ...)
    if needed is not None:
        fields.setdefault(needed, (OwnTargetSettings, ...))
    return create_model(name, __base__=Settings, **fields)


def refuse_conflicts(settings: RunSettings) -> None:
    """Raise a UserError for settings that each fit, but not together."""
    epochs = settings.trainer.max_epochs
    schedule = settings.finetuning.schedule
    if schedule.target == STANDARD and not isinstance(settings.freeze, bool) and settings.freeze >= epochs:
        raise UserError(
            f"freeze={settings.freeze} leaves no epoch for fine-tuning: trainer.max_epochs is {epochs}; "
            "make it larger, or write freeze=true."
        )
    if isinstance(schedule, LinearProbeSettings) and schedule.probe_epochs >= epochs:
        raise UserError(
            f"finetuning.schedule.probe_epochs={schedule.probe_epochs} leaves no epoch for fine-tuning: "
            f"it has to be below trainer.max_epochs={epochs}."
        )
    callbacks = [getattr(settings.callbacks, name) for name in type(settings.callbacks).model_fields]
    logs_more = any(callback is not None and callback.target not in CALLBACKS for callback in callbacks)
    if settings.monitor not in METRICS and not logs_more:
        hint = suggestion(settings.monitor, METRICS) or suggestion(f"val/{settings.monitor}", METRICS)
        raise UserError(
            f"monitor={settings.monitor} is not measured.{hint} Choose one of: {', '.join(METRICS)}."
        )
