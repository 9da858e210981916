"""The story of a run: data, network, phases, fit, test, and what it leaves behind."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from graft.data.module import ImageFolderDataModule
from graft.errors import UserError
from graft.features.cache import FeatureCache
from graft.features.head_solver import with_solved_head
from graft.files import replacing
from graft.memory import keep_freed_memory
from graft.models.backbones import build_backbone, build_head
from graft.models.checkpoints import describe
from graft.models.classifier import Classifier
from graft.models.freezing import HEAD, Phase, named_stages
from graft.models.trial import refuse_failing_phase
from graft.reporting.board.start import show_start
from graft.reporting.results import FinishedRun, write_results
from graft.training.calibration import calibrate
from graft.training.callbacks.checkpoints import BestAndLast
from graft.training.callbacks.predictions import KeepPredictions, Predictions, saved_validation
from graft.training.compilation import resolve_compile
from graft.training.interruption import exit_when_interrupted
from graft.training.module import TransferModule
from graft.training.monitoring import better_direction, monitor_summary
from graft.training.optimizers import with_learning_rate
from graft.training.phases import fit_phases
from graft.training.regularisation import refuse_useless_pull
from graft.training.resumable_settings import settings_that_matter
from graft.training.resuming import described, find_resumption, last_checkpoint
from graft.training.summary import (
    count,
    data_summary,
    machine_summary,
    network_summary,
    next_steps,
    results_table,
)
from graft.training.trainer import build_trainer

log = logging.getLogger(__name__)


def train(config: DictConfig) -> dict[str, float]:
    """Train as the settings say, test the best checkpoint, and return the metrics.

    The metrics are those of `metrics.json`: test, best validation, epochs, seconds, parameters.
    Raises UserError for a setting that does not fit the data, the network or the machine.
    """
    try:
        with exit_when_interrupted(last_checkpoint(config)):
            return run(with_learning_rate(config))
    except HydraException as error:
        # Hydra wraps what a constructor raises; the person needs the constructor's own words.
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise


def run(config: DictConfig) -> dict[str, float]:
    """Do what `train` says, step by step."""
    began = time.monotonic()
    keep_freed_memory()
    trainer = build_trainer(config)
    resumption = find_resumption(config, trainer.world_size, str(trainer.precision))
    checkpoints = checkpoint_callback(trainer)
    if not trainer.is_global_zero:
        logging.getLogger("graft").setLevel(logging.ERROR)  # One process speaks for all.
    if not isinstance(config.seed, int) or not 0 <= config.seed < 2**32:
        raise UserError(f"seed={config.seed}: it is a whole number, 0 or more and below {2**32}.")
    L.seed_everything(config.seed, workers=True, verbose=False)

    data: ImageFolderDataModule = instantiate(config.data)
    if data.cache == "ram" and trainer.world_size > 1:
        raise UserError("data.cache=ram would keep the images once a process; write data.cache=disk.")
    classifier = build_classifier(config, data)
    phases = plan_phases(config, classifier)
    refuse_useless_pull(config.loss.l2_sp, classifier.backbone, phases)
    assert data.preprocessing is not None
    refuse_failing_phase(
        classifier, phases, config.finetuning.norm, data.preprocessing.crop, config.data.batch_size
    )
    passes = len(data.samples["train"]) * sum(p.epochs for p in phases if p.learns != (HEAD,))
    compiled = resolve_compile(config.compile, trainer.strategy.root_device.type, passes)
    module = build_module(config, data, classifier, compiled)
    module.description |= {
        "settings": settings_that_matter(config, trainer.world_size, str(trainer.precision)),
        "finds_rate": config.learning_rate == "auto",
        "max_epochs": config.trainer.max_epochs,
        "phases": described(phases),
        "images": data.digest(),
    }
    if resumption:
        resumption.refuse_other_images(data.digest())
        resumption.refuse_other_phases(phases)
    direction = better_direction(module, checkpoints.monitor, checkpoints.mode)
    if trainer.is_global_zero:
        data.write_splits(Path(config.paths.run) / "splits.csv")
    log.info(data_summary(data))
    log.info(network_summary(classifier, data, phases))
    log.info(machine_summary(trainer))
    log.info(monitor_summary(checkpoints.monitor, direction))
    show_start(trainer, data, config)

    if resumption:
        data.first_epoch = resumption.next_epoch
        if trainer.is_global_zero:
            checkpoints.go_on_from(resumption.path)  # The others learn of it when the fit begins.
        module.use_learning_rate(resumption.learning_rate)
    searches_rate = config.learning_rate == "auto" and resumption is None
    fit_phases(trainer, module, data, phases, resumption, FeatureCache(**config.features), searches_rate)

    if checkpoints.best_epoch < 0:
        raise UserError("no epoch was finished, so there is nothing to test: trainer.max_time is too short.")
    if "test" not in data.features or checkpoints.best_epoch < module.position["phase_began_at"]:
        # Stored features are of the last phase's network, which is not the one that is tested.
        data.features = {}
        module.enter_at(None)
    trainer.test(module, datamodule=data, ckpt_path=str(checkpoints.best_path), verbose=False)
    metrics = {
        **{name: float(value) for name, value in trainer.callback_metrics.items()},
        **checkpoints.best_metrics,
        "best_epoch": checkpoints.best_epoch + 1,
        "epoch": trainer.fit_loop.epoch_progress.current.completed,
        "seconds": round(time.monotonic() - began, 2),
        "parameters/total": count(classifier.parameters()),
        "parameters/trainable": count(p for p in classifier.parameters() if p.requires_grad),
    }
    if config.calibrate:
        validation = best_validation(trainer, module, data, checkpoints)
    if trainer.is_global_zero:
        if config.calibrate:
            test = predictions(trainer).test
            assert test is not None
            metrics |= calibrate(checkpoints.best_path, validation, test)
        report(
            Path(config.paths.run),
            metrics,
            checkpoints.best_path,
            has_curves=bool(config.logger.get("tensorboard")),
        )
        write_results(FinishedRun(config, trainer, module, data, phases, metrics, checkpoints.best_path))
    return metrics


def build_classifier(config: DictConfig, data: ImageFolderDataModule) -> Classifier:
    """Return the network for the data's classes; the data learn how its weights need their images."""
    settings: Any = OmegaConf.to_container(config.model)
    backbone = build_backbone(**settings, image_size=data.image_size)
    data.use_preprocessing(backbone.preprocessing)
    return Classifier(backbone, build_head(backbone, len(data.class_names), **head_layers(config)))


def head_layers(config: DictConfig) -> dict[str, Any]:
    """Return the settings that say what the head is made of, not how it learns."""
    return {key: config.head[key] for key in ("dropout", "hidden")}


def plan_phases(config: DictConfig, classifier: Classifier) -> list[Phase]:
    """Return the phases of the schedule that `finetuning` names."""
    if config.trainer.max_epochs < 1:
        raise UserError(f"trainer.max_epochs={config.trainer.max_epochs}: it is at least 1.")
    schedule = instantiate(config.finetuning.schedule, _convert_="all")
    phases: list[Phase] = schedule(named_stages(classifier), config.freeze, config.trainer.max_epochs)
    phases = with_solved_head(phases, config.head.solver, classifier.head, config.learning_rate)
    if all(phase.learns == (HEAD,) for phase in phases):
        classifier.backbone.remove_auxiliary_heads()  # They only ever help a backbone that learns.
    return phases


def build_module(
    config: DictConfig, data: ImageFolderDataModule, classifier: Classifier, compiled: bool
) -> TransferModule:
    """Return the module that trains the classifier as the settings say."""
    module = TransferModule(
        classifier,
        num_classes=len(data.class_names),
        optimizer=instantiate(config.optimizer, _convert_="all"),
        scheduler=instantiate(config.scheduler),
        learning_rate=config.optimizer.lr,
        head_lr_multiplier=config.finetuning.head_lr_multiplier,
        layer_decay=config.finetuning.layer_decay,
        norm=config.finetuning.norm,
        label_smoothing=config.loss.label_smoothing,
        class_weights=class_weights(config.loss.class_weights, data.class_counts("train")),
        l2_sp=config.loss.l2_sp,
        mixup=config.loss.mixup,
        cutmix=config.loss.cutmix,
        compiled=compiled,
    )
    assert data.preprocessing is not None
    module.description = describe(
        classifier.backbone, head_layers(config), data.class_names, data.preprocessing
    )
    return module


def checkpoint_callback(trainer: L.Trainer) -> BestAndLast:
    """Return the callback that keeps the best checkpoint, which the end of the run tests."""
    callback = trainer.checkpoint_callback
    if not isinstance(callback, BestAndLast):
        raise UserError("callbacks.checkpoint is needed: the best checkpoint is tested in the end.")
    return callback


def best_validation(
    trainer: L.Trainer, module: TransferModule, data: ImageFolderDataModule, checkpoints: BestAndLast
) -> Predictions:
    """Return the best epoch's validation: as it was kept, or, after a resume that lacks it, done again."""
    kept = saved_validation(checkpoints.validation_path, checkpoints.best_epoch)
    kept = trainer.strategy.broadcast(kept)  # Other machines may not see the file.
    if kept is None:
        trainer.validate(module, datamodule=data, ckpt_path=str(checkpoints.best_path), verbose=False)
        kept = predictions(trainer).val
    assert kept is not None
    return kept


def predictions(trainer: L.Trainer) -> KeepPredictions:
    """Return the callback that holds the logits of the last validation and of the test."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next(found for found in callbacks if isinstance(found, KeepPredictions))


def report(run_folder: Path, metrics: dict[str, float], best: Path, has_curves: bool) -> None:
    """Write `metrics.json`, and say what came out and what comes next."""
    with replacing(run_folder / "metrics.json", flush=True) as file:
        file.write(f"{json.dumps(metrics, indent=2)}\n".encode())
    log.info("\ntest metrics of the best checkpoint (epoch %d)", metrics["best_epoch"])
    log.info("%s\n", results_table(metrics))
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    log.info(next_steps(run_folder, best, overrides, has_curves))


def class_weights(choice: str | None, counts: list[int]) -> list[float] | None:
    """Return n / (classes · n_class) for every class (`balanced`), or None."""
    if choice is None:
        return None
    if choice != "balanced":
        raise UserError(f"loss.class_weights={choice}: write balanced or null.")
    return [sum(counts) / (len(counts) * n) for n in counts]
