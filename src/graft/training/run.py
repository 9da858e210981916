"""The story of a run: data, network, phases, fit, test, and the record of what came out."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from graft.data.labelled_images import read_labelled_images
from graft.errors import UserError
from graft.features.cache import FeatureCache  # room: features
from graft.finished_run import FinishedRun
from graft.memory import keep_freed_memory
from graft.models.checkpoints import read_checkpoint, replace_task
from graft.models.freezing import HEAD
from graft.training.building import (
    build_classifier,
    build_data,
    build_loss,
    build_module,
    build_task,
    plan_phases,
)
from graft.training.callbacks.checkpoints import BestAndLast
from graft.training.callbacks.predictions import VALIDATION, KeepPredictions, Predictions
from graft.training.checks import refuse_idle_processes, refuse_untrainable
from graft.training.interruption import exit_when_interrupted
from graft.training.lightning_internals import callbacks_of
from graft.training.monitoring import better_direction, monitor_summary
from graft.training.phases import fit_phases
from graft.training.record import Fitted, record_of, write_results
from graft.training.resuming import find_resumption
from graft.training.summary import data_summary, machine_summary, network_summary
from graft.training.trainer import build_trainer

log = logging.getLogger(__name__)


def train(config: DictConfig, recipe: Callable[[dict[str, Any]], Fitted] | None = None) -> FinishedRun:
    """Train as the settings say, test the best checkpoint, and return the record of the run.

    A `recipe` fits in place of `fit`. Raises UserError for a setting that does not fit the data, the network
    or the machine.
    """
    settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    try:
        with exit_when_interrupted(Path(settings["paths"]["run"]) / "checkpoints" / "last.ckpt"):
            return finish((recipe or fit)(settings))
    except HydraException as error:
        # Hydra wraps what a constructor raises; the person needs the constructor's own words.
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise


def fit(settings: dict[str, Any]) -> Fitted:
    """Read the data, build the network, and fit all phases."""
    began = time.monotonic()
    keep_freed_memory()
    if isinstance(settings["learning_rate"], int | float):  # Stands for the optimizer's own.
        settings["optimizer"]["lr"] = float(settings["learning_rate"])
    trainer = build_trainer(settings)
    if not trainer.is_global_zero:
        logging.getLogger("graft").setLevel(logging.ERROR)  # One process speaks for all.
    resumption = find_resumption(settings, trainer)
    checkpoints = checkpoint_callback(trainer)
    L.seed_everything(settings["seed"], workers=True, verbose=False)

    images = read_labelled_images(settings["data"], build_task(settings["task"]))
    if resumption:
        resumption.refuse_other_images(images.digest())
    classifier = build_classifier(settings, images)
    data = build_data(settings, images, classifier)
    loss = build_loss(settings, images)
    phases = plan_phases(settings, classifier, loss)
    if all(phase.trainable == (HEAD,) for phase in phases):
        classifier.backbone.remove_auxiliary_heads()  # They only ever help a backbone that is trained.
    refuse_idle_processes(data, trainer.world_size)
    refuse_untrainable(settings, classifier, data, phases)
    module = build_module(settings, trainer, data, classifier, loss, phases)
    if resumption:
        resumption.check_phases(phases)
    direction = better_direction(module, checkpoints.monitor, checkpoints.mode)
    if trainer.is_global_zero:
        images.write_splits(Path(settings["paths"]["run"]) / "splits.csv")
    log.info(data_summary(images))
    log.info(network_summary(classifier, data.preprocessing))
    log.info(machine_summary(trainer))
    log.info(monitor_summary(checkpoints.monitor, direction))

    if resumption:
        data.first_epoch = resumption.next_epoch
        if trainer.is_global_zero:
            checkpoints.continue_from(resumption.path)  # `setup` tells the other processes.
        module.learning_rates = replace(module.learning_rates, head=resumption.learning_rate)
    fit_phases(
        trainer,
        module,
        data,
        resumption,
        settings["learning_rate"] == "auto" and resumption is None,
        FeatureCache(**settings["features"]),  # room: features
    )
    if not checkpoints.best_epoch:
        raise UserError(
            "no epoch was finished, so there is nothing to test: trainer.max_time is too short, or "
            "the resumed run is over and its best.ckpt is gone."
        )
    return Fitted(settings, began, trainer, module, data, checkpoints, checkpoints.history)


def finish(fitted: Fitted) -> FinishedRun:
    """Fit the decision to validation images, test the best checkpoint, and write what came out.

    The test restores the best epoch's callbacks with its weights, so what they gathered later is in `fitted`.
    """
    trainer, module, checkpoints = fitted.trainer, fitted.module, fitted.checkpoints
    if "test" not in fitted.data.features or checkpoints.best_epoch <= module.position.phase_began_at:
        # The test reads images where their cached features are missing, or the best epoch is of an earlier
        # phase: cached features come from the network of the last one.
        fitted.data.features = {}
    calibrates = fitted.settings["calibrate"]
    metrics: dict[str, float] = {}
    if calibrates or module.task.fits_thresholds:
        validation = best_validation(fitted)
        task, metrics = module.task.decided(validation.logits, validation.targets, calibrates)
        if trainer.is_global_zero:
            replace_task(checkpoints.best_path, task.describe())
        trainer.strategy.barrier()
        module.use_task(task)
        if calibrates:
            metrics |= with_prefix("val", task.decision_metrics(validation.logits, validation.targets))
    trainer.test(module, datamodule=fitted.data, ckpt_path=str(checkpoints.best_path), verbose=False)
    tested = next(callbacks_of(trainer, KeepPredictions)).last
    assert tested is not None
    if calibrates:
        metrics |= with_prefix("test", module.task.decision_metrics(tested.logits, tested.targets))
    record = record_of(fitted, metrics, tested)
    if trainer.is_global_zero:
        write_results(record)
    return record


def checkpoint_callback(trainer: L.Trainer) -> BestAndLast:
    """Return the callback that keeps the best checkpoint, which the end of the run tests."""
    callback = trainer.checkpoint_callback
    if not isinstance(callback, BestAndLast):
        raise UserError("callbacks.checkpoint is needed: the best checkpoint is tested in the end.")
    if callback.best_path.parent != Path(trainer.default_root_dir) / "checkpoints":
        raise UserError(
            "callbacks.checkpoint.dirpath is where resume looks; move the run: hydra.run.dir=DIR."
        )
    return callback


def best_validation(fitted: Fitted) -> Predictions:
    saved: Any = None
    if fitted.trainer.is_global_zero:  # Other machines may not see the file.
        saved = read_checkpoint(fitted.checkpoints.best_path)[VALIDATION]
    return Predictions(**fitted.trainer.strategy.broadcast(saved))


def with_prefix(split: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{split}/{name}": value for name, value in metrics.items()}
