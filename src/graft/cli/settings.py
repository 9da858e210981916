"""The settings of a run: the sum of what the rooms declare, and their check before anything slow."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_origin

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, create_model

from graft.cli.checking import alternatives, validated
from graft.data.settings import AUGMENTATIONS, DATA, CacheSettings, DataSettings, check_files
from graft.errors import UserError, suggestion
from graft.features.settings import FeatureSettings  # room: features
from graft.models import settings as models
from graft.recipes.settings import Recipe, TimeBudget  # room: recipes
from graft.reporting import settings as reporting  # room: reporting
from graft.settings import OwnPartialSettings, OwnTargetSettings, PathText, Settings, TargetSettings, Text
from graft.tasks.settings import LOSSES, TASKS, OwnLossSettings, TaskSettings
from graft.training import settings as training
from graft.training.settings import OPTIMIZERS, SCHEDULERS
from graft.training.trainer_settings import TrainerSettings

Table = Mapping[str, type[TargetSettings]]  # what each class takes, by the path of the class
# The entries that name a class by `_target_`: what each class takes, and what any other class does.
TARGETS: dict[str, tuple[Table, type[TargetSettings]]] = {
    "augmentation": (AUGMENTATIONS, OwnTargetSettings),
    "data": (DATA, OwnTargetSettings),
    "loss": (LOSSES, OwnLossSettings),
    "optimizer": (OPTIMIZERS, training.OptimizerSettings),
    "scheduler": (SCHEDULERS, OwnPartialSettings),
    "task": (TASKS, TaskSettings),
}
CALLBACKS: Table = {
    **training.CALLBACKS,
    **reporting.CALLBACKS,  # room: reporting
}
SCALARS = (bool, int, float, str, Path, type(None))


class PathSettings(Settings):
    """`paths`: where things lie."""

    root: PathText
    data: PathText
    logs: PathText
    run: PathText


class RunSettings(Settings):
    """The settings of a run, without what `declared_settings` adds for the classes that are named."""

    freeze: training.Freeze
    learning_rate: training.LearningRate
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    monitor: Text
    monitor_mode: training.MonitorMode
    resume: PathText | None
    compile: training.Compile
    recipe: Recipe  # room: recipes
    time_budget: TimeBudget  # room: recipes
    calibrate: bool
    report: bool  # room: reporting
    head: models.HeadSettings
    features: FeatureSettings  # room: features
    cache: CacheSettings
    regularisation: training.RegularisationSettings
    paths: PathSettings
    model: models.ModelSettings
    trainer: TrainerSettings
    finetuning: models.FinetuningSettings
    data: TargetSettings
    task: TargetSettings
    callbacks: Settings


def check_settings(config: DictConfig) -> None:
    """Raise a UserError for a setting that does not fit; the declared ones first, without torch."""
    values = plain_values(config)
    settings = validated(declared_settings(values), values)
    refuse_conflicts(settings)
    if isinstance(settings.data, DataSettings):
        check_files(settings.data)
    for prefix, path, arguments in undeclared_arguments(settings, ""):
        check_arguments(prefix, path, arguments)
    refuse_foreign_scheduler(values["scheduler"]["_target_"])
    try_optimizer(values["optimizer"])


def plain_values(config: DictConfig) -> dict[str, Any]:
    """Return the values as plain, resolved ones, without those that are left open (`???`)."""

    def given(node: Any) -> Any:
        is_group = isinstance(node, dict)
        return {key: given(value) for key, value in node.items() if value != "???"} if is_group else node

    try:
        values: dict[str, Any] = given(OmegaConf.to_container(config, resolve=True))
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}.") from error
    return values


def declared_settings(values: Mapping[str, Any]) -> type[RunSettings]:
    """Return the declaration of a run, for the classes that the entries of `values` name."""
    kinds: dict[str, Any] = {name: chosen(*classes, values.get(name)) for name, classes in TARGETS.items()}
    if "augmentation" in kinds["data"].model_fields:
        augmentation = (kinds["augmentation"], ...)
        kinds["data"] = create_model("Data", __base__=kinds["data"], augmentation=augmentation)
    finetuning = values.get("finetuning")
    schedule = finetuning.get("schedule") if isinstance(finetuning, Mapping) else None
    schedule = chosen(models.SCHEDULES, OwnPartialSettings, schedule)
    parts: dict[str, Any] = {"schedule": (schedule, ...)}
    if schedule is models.SelectSettings:
        parts["train"] = (models.Stages, ...)
    kinds["finetuning"] = create_model("Finetuning", __base__=models.FinetuningSettings, **parts)
    kinds["callbacks"] = named_entries(CALLBACKS, values.get("callbacks"), needed="checkpoint")
    kinds["logger"] = named_entries({}, values.get("logger"))
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in kinds.items()}
    return create_model("Run", __base__=RunSettings, **fields)


def chosen(known: Table, other: type[TargetSettings], entry: Any) -> type[TargetSettings]:
    """Return the declaration of the class that an entry names; `other` for one that is not declared."""
    target = entry.get("_target_") if isinstance(entry, Mapping) else None
    return known.get(target, other) if isinstance(target, str) else other


def named_entries(known: Table, entries: Any, needed: str | None = None) -> type[Settings]:
    """Return the declaration of callbacks or loggers: one entry per name, null for one that is left out."""
    fields: dict[str, Any] = {needed: (OwnTargetSettings, ...)} if needed else {}
    for key, entry in entries.items() if isinstance(entries, Mapping) else ():
        declared = chosen(known, OwnTargetSettings, entry)
        fields[key] = (declared if key == needed else declared | None, ...)
    return create_model("Entries", __base__=Settings, **fields)


def refuse_conflicts(settings: RunSettings) -> None:
    epochs, freeze, schedule = settings.trainer.max_epochs, settings.freeze, settings.finetuning.schedule
    reason = f" leaves no epoch for fine-tuning: write less than trainer.max_epochs={epochs}"
    if schedule.target == models.STANDARD and not isinstance(freeze, bool) and freeze >= epochs:
        raise UserError(f"freeze={freeze}{reason}, or freeze=true.")
    if isinstance(schedule, models.LinearProbeSettings) and schedule.probe_epochs >= epochs:
        raise UserError(f"finetuning.schedule.probe_epochs={schedule.probe_epochs}{reason}.")
    if settings.recipe is None and settings.time_budget != "auto":  # room: recipes
        raise UserError(f"time_budget={settings.time_budget} needs recipe=auto.")  # room: recipes
    callbacks = [getattr(settings.callbacks, name) for name in type(settings.callbacks).model_fields]
    own = [callback for callback in callbacks if callback is not None and callback.target not in CALLBACKS]
    logs_more = any(not callback.target.startswith("lightning.") for callback in own)
    measured = [f"val/{name}" for name in ("loss", *getattr(settings.task, "metrics", ()))]
    if settings.monitor not in measured and not logs_more:
        hint = suggestion(settings.monitor, measured) or suggestion(f"val/{settings.monitor}", measured)
        raise UserError(f"monitor={settings.monitor} is not measured.{hint} Metrics: {', '.join(measured)}.")


def undeclared_arguments(node: Any, prefix: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield prefix, target and undeclared arguments of every `_target_` that is not fully declared."""
    if isinstance(node, TargetSettings):
        if node.model_extra is not None:  # None: other keys than the declared ones are refused.
            yield prefix, node.target, node.model_extra
    elif isinstance(node, Mapping) and isinstance(node.get("_target_"), str):
        yield prefix, node["_target_"], {k: v for k, v in node.items() if not k.startswith("_")}
    for name, value in node.items() if isinstance(node, Mapping) else node:
        if isinstance(value, Settings | Mapping):
            yield from undeclared_arguments(value, f"{prefix}{name}.")


def check_arguments(prefix: str, path: str, arguments: Mapping[str, Any]) -> None:
    """Raise a UserError where the target cannot be imported or does not take one of the arguments."""
    try:
        target = get_object(path)
    except Exception as error:  # Importing runs a person's own module, which may raise anything.
        raise UserError(f"{prefix}_target_={path} cannot be imported: {reason_of(error)}.") from error
    if not callable(target):
        raise UserError(f"{prefix}_target_={path} is neither a class nor a function.")
    parameters, takes_others = named_parameters(target)
    fields: dict[str, Any] = {}
    for name, value in arguments.items():
        if name not in parameters:
            if takes_others:
                continue
            hint = suggestion(name, parameters)
            raise UserError(f"unknown setting '{prefix}{name}': {path} has no such argument.{hint}")
        kinds = [kind for kind, _ in alternatives(parameters[name].annotation)]
        kinds += [type(None)] if parameters[name].default is None else []
        is_scalar = all(kind in SCALARS or get_origin(kind) is Literal for kind in kinds)
        if is_scalar and not isinstance(value, Mapping):  # Hydra may build an object from a mapping.
            fields[name] = (Union[tuple(kinds)], ...)  # noqa: UP007
    declared = create_model("Arguments", __base__=Settings, **fields)
    validated(declared, {name: arguments[name] for name in fields}, prefix)


def refuse_foreign_scheduler(path: str) -> None:
    """Raise a UserError for a scheduler that does not take the steps, such as most of torch's."""
    needed = ("total_steps", "steps_per_epoch")
    parameters, takes_others = named_parameters(get_object(path))
    if not takes_others and not all(name in parameters for name in needed):
        raise UserError(
            f"scheduler._target_={path} does not take {' and '.join(needed)}: write a function that takes "
            "the optimizer and these, and returns the scheduler."
        )


def try_optimizer(entry: Mapping[str, Any]) -> None:
    """Raise a UserError for values that its class refuses, such as a Nesterov step without momentum."""
    import torch

    try:
        instantiate(entry)([torch.nn.Parameter(torch.zeros(1))])
    except Exception as error:  # It may be a person's own class.
        raise UserError(f"optimizer does not fit: {reason_of(error)}.") from error


def reason_of(error: Exception) -> str:
    cause = error.__cause__ or error
    return (str(cause) or type(cause).__name__).splitlines()[0].rstrip(".")


def named_parameters(target: Callable[..., object]) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the parameters that a class or a function takes by name, and whether it takes any others."""
    try:
        parameters = inspect.signature(target, eval_str=True).parameters
    except NameError:  # An annotation that is imported for type checkers only.
        parameters = inspect.signature(target).parameters
    except (ValueError, TypeError):  # Some of Python's own classes do not say what they take.
        return {}, True
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = {name: parameter for name, parameter in parameters.items() if parameter.kind in by_name}
    return named, any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
