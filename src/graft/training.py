"""The story of a run: data, network, phases, fit, test, and what it leaves behind."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from graft.backbones import build_backbone, build_head
from graft.board.start import show_start, writer_of
from graft.calibration import calibrate
from graft.callbacks.checkpoints import BestAndLast
from graft.checkpoints import describe
from graft.classifier import Classifier
from graft.compilation import resolve_compile
from graft.configuration import refuse_unknown_arguments, with_learning_rate
from graft.data import ImageFolderDataModule
from graft.data.splits import SPLITS
from graft.errors import UserError
from graft.features import FeatureCache, FeatureDataset
from graft.finetuning import HEAD, Phase, named_stages
from graft.head_solver import solve_head, with_solved_head
from graft.memory import keep_freed_memory
from graft.module import TransferModule
from graft.rate_search import choose_learning_rate
from graft.results import FinishedRun, write_results
from graft.resuming import Resumption, find_resumption, settings_that_matter
from graft.summary import (
    count,
    data_summary,
    machine_summary,
    network_summary,
    next_steps,
    phase_summary,
    results_table,
)
from graft.trainer import build_trainer

log = logging.getLogger(__name__)


def train(config: DictConfig) -> dict[str, float]:
    """Train as the settings say, test the best checkpoint, and return the metrics.

    The metrics are those of `metrics.json`: test, best validation, epochs, seconds, parameters.
    Raises UserError for a setting that does not fit the data, the network or the machine.
    """
    refuse_unknown_arguments(config)
    try:
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
    resumption = find_resumption(config)
    trainer = build_trainer(config)
    checkpoints = checkpoint_callback(trainer)
    if not trainer.is_global_zero:
        logging.getLogger("graft").setLevel(logging.ERROR)  # One process speaks for all.
    if not isinstance(config.seed, int) or not 0 <= config.seed < 2**32:
        raise UserError(f"seed={config.seed}: it is a whole number, 0 or more and below {2**32}.")
    L.seed_everything(config.seed, workers=True, verbose=False)

    data: ImageFolderDataModule = instantiate(config.data)
    classifier = build_classifier(config, data)
    phases = plan_phases(config, classifier)
    passes = len(data.samples["train"]) * sum(p.epochs for p in phases if p.learns != (HEAD,))
    compiled = resolve_compile(config.compile, trainer.strategy.root_device.type, passes)
    module = build_module(config, data, classifier, compiled)
    if trainer.is_global_zero:
        data.write_splits(Path(config.paths.run) / "splits.csv")
    log.info(data_summary(data))
    log.info(network_summary(classifier, data, phases))
    log.info(machine_summary(trainer))
    show_start(trainer, data, config)

    if resumption:
        resumption.refuse_other_pictures(data.digest())
        data.first_epoch = resumption.next_epoch
        if trainer.is_global_zero:
            checkpoints.go_on_from(resumption.path)
        module.use_learning_rate(resumption.learning_rate)
    searches_rate = config.learning_rate == "auto" and resumption is None
    fit_phases(trainer, module, data, phases, resumption, FeatureCache(**config.features), searches_rate)

    if "test" not in data.features:
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
    if trainer.is_global_zero:
        if config.calibrate:
            metrics |= calibrate(checkpoints.best_path, data)
        report(
            Path(config.paths.run),
            metrics,
            checkpoints.best_path,
            has_curves=bool(config.logger.get("tensorboard")),
        )
        write_results(FinishedRun(config, trainer, module, data, phases, metrics, checkpoints.best_path))
    return metrics


def build_classifier(config: DictConfig, data: ImageFolderDataModule) -> Classifier:
    """Return the network for the data's classes; the data learn how its weights need their pictures."""
    backbone = build_backbone(**OmegaConf.to_container(config.model))  # type: ignore[arg-type]
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
    module.description = {
        **describe(classifier.backbone, head_layers(config), data.class_names, data.preprocessing),
        "settings": settings_that_matter(config),
        "pictures": data.digest(),
    }
    return module


def fit_phases(
    trainer: L.Trainer,
    module: TransferModule,
    data: ImageFolderDataModule,
    phases: list[Phase],
    resumption: Resumption | None,
    cache: FeatureCache,
    searches_rate: bool,
) -> None:
    """Fit phase after phase with one Trainer, so that epochs, steps and logs go on counting.

    What comes before the first part that learns runs once, where that can be and pays, and the rest learns
    from what it made of the pictures. The first phase may begin with a search for its learning rate. A
    resumed run begins in its checkpoint's phase; Lightning restores the rest.
    """
    first = resumption.phase if resumption else 0
    for number, phase in enumerate(phases[first:], start=first):
        resumed = resumption if number == first else None
        # After another phase, the backbone that is tested is not the one that the features are of.
        splits = SPLITS if number == len(phases) - 1 else ("train", "val")
        module.begin(phase)
        served = cache.serves(module, trainer)
        data.features, tail = cache.features(module, data, trainer, phase, splits) if served else ({}, None)
        module.enter_at(tail)
        if phase.is_solved and resumed is None:
            solve(module, data)
        announce(phase_summary(phase, number + 1, len(phases), module), trainer)
        if searches_rate and number == 0:
            module.use_learning_rate(choose_learning_rate(trainer, module, data))
        began_at = resumed.phase_began_at if resumed else trainer.current_epoch
        began_at_step = resumed.phase_began_at_step if resumed else trainer.global_step
        module.position = {
            "phase": number,
            "phase_began_at": began_at,
            "phase_began_at_step": began_at_step,
        }
        end = resumed.next_epoch if resumed and resumed.phase_is_over else began_at + phase.epochs
        trainer.fit_loop.max_epochs = end
        for callback in trainer.early_stopping_callbacks:
            callback.wait_count = 0  # Each phase may take its time.
        with threads_that_pay(module, trainer):
            trainer.fit(module, datamodule=data, ckpt_path=str(resumed.path) if resumed else None)
        if 0 < trainer.max_steps <= trainer.global_step:
            return


@contextmanager
def threads_that_pay(module: TransferModule, trainer: L.Trainer) -> Iterator[None]:
    """Let one thread compute while only a head learns, from stored features on a CPU.

    Its steps are too small to be shared: on a busy machine the threads would mostly wait for each other.
    """
    threads = torch.get_num_threads()
    is_head = module.tail is not None and module.phase is not None and module.phase.learns == (HEAD,)
    if is_head and trainer.strategy.root_device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def solve(module: TransferModule, data: ImageFolderDataModule) -> None:
    """Fit the head to the stored features at once; UserError where there are none."""
    if not data.features:
        raise UserError(
            "head.solver=lbfgs fits the head to stored features, which these settings do not allow; "
            "features.cache=true says why."
        )
    head = module.classifier.head
    train, val = data.features["train"], data.features["val"]
    assert isinstance(head, torch.nn.Linear)
    assert isinstance(train, FeatureDataset)
    assert isinstance(val, FeatureDataset)
    solve_head(head, train, val, module.label_smoothing, module.class_weights)


def announce(summary: str, trainer: L.Trainer) -> None:
    """Say what begins, on the console and in TensorBoard."""
    log.info(summary)
    writer = writer_of(trainer)
    if writer is not None:
        writer.add_text("phase", summary, trainer.global_step)


def checkpoint_callback(trainer: L.Trainer) -> BestAndLast:
    """Return the callback that keeps the best checkpoint, which the end of the run tests."""
    callback = trainer.checkpoint_callback
    if not isinstance(callback, BestAndLast):
        raise UserError("callbacks.checkpoint is needed: the best checkpoint is tested in the end.")
    return callback


def report(run_folder: Path, metrics: dict[str, float], best: Path, has_curves: bool) -> None:
    """Write `metrics.json`, and say what came out and what comes next."""
    (run_folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
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
