"""The record of a finished run, and the files that it leaves: metrics.json and predictions.csv."""

import json
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig

from graft.data.module import ImageDataModule
from graft.files import replacing
from graft.finished_run import FinishedRun, History, PhaseRecord
from graft.models.freezing import HEAD, apply_phase
from graft.tasks.prediction_table import write_labelled_predictions
from graft.training.callbacks.checkpoints import BestAndLast
from graft.training.callbacks.predictions import Predictions
from graft.training.module import TransferModule
from graft.training.summary import count, machine_summary, next_steps, results_table

log = logging.getLogger(__name__)


@dataclass
class Fitted:
    """A run whose phases are over, with all that finishing it needs."""

    settings: dict[str, Any]
    began: float  # time.monotonic
    trainer: L.Trainer
    module: TransferModule
    data: ImageDataModule
    checkpoints: BestAndLast
    history: History  # The test loads the callbacks of the best epoch, which lack what came after it.


def record_of(run: Fitted, decision_metrics: Mapping[str, float], tested: Predictions) -> FinishedRun:
    """Return the record of the run; `decision_metrics` are those of `Task.decided`."""
    trainer, classifier, images = run.trainer, run.module.classifier, run.data.images
    metrics = {
        **{name: float(value) for name, value in trainer.callback_metrics.items()},
        **run.checkpoints.best_metrics,
        "best_epoch": run.checkpoints.best_epoch,
        "epoch": trainer.fit_loop.epoch_progress.current.completed,
        "seconds": round(time.monotonic() - run.began, 2),
        "parameters/total": count(classifier.parameters()),
        "parameters/trainable": count(p for p in classifier.parameters() if p.requires_grad),
        **decision_metrics,
    }
    return FinishedRun(
        folder=Path(run.settings["paths"]["run"]),
        settings=run.settings,
        overrides=list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else None,
        network=f"{classifier.backbone.name} ({classifier.backbone.source})",
        weights=classifier.backbone.weights,
        device=machine_summary(trainer).partition(" ")[2].strip(),
        task=run.module.task,
        root=images.root,
        splits=images.samples,
        preprocessing=run.data.preprocessing,
        phases=phase_records(run.module),
        views=getattr(run.data.features.get("train"), "views", None),
        history=run.history,
        metrics=metrics,
        logits=tested.logits,
        targets=tested.targets,
        checkpoint=run.checkpoints.best_path,
        is_first_process=trainer.is_global_zero,
        lower_is_better=run.checkpoints.mode == "min",
    )


def phase_records(module: TransferModule) -> list[PhaseRecord]:
    records = []
    for phase in module.phases:
        apply_phase(module.classifier, phase, module.norm)  # Only to count; a phase sets the whole state.
        rate = module.learning_rates.head * phase.rate_factor
        records.append(
            PhaseRecord(
                phase.name,
                phase.trainable,
                phase.epochs,
                phase.patience,
                rate,
                None if phase.trainable == (HEAD,) else rate / module.learning_rates.head_multiplier,
                count(p for p in module.classifier.parameters() if p.requires_grad),
            )
        )
    return records


def write_results(run: FinishedRun) -> None:
    """Write `metrics.json` and `predictions.csv`, and log the test metrics."""
    # JSON has no NaN, which is the rank correlation of one image.
    known = {name: None if math.isnan(value) else value for name, value in run.metrics.items()}
    with replacing(run.folder / "metrics.json", flush=True) as file:
        file.write(f"{json.dumps(known, indent=2)}\n".encode())
    write_labelled_predictions(
        run.folder / "predictions.csv",
        [sample.path for sample in run.tested],
        [sample.target for sample in run.tested],
        run.task,
        run.task.predict(run.logits),
    )
    log.info("\ntest metrics of the best checkpoint (epoch %d)", run.metrics["best_epoch"])
    log.info("%s\n", results_table(run.metrics))
    has_curves = bool(run.settings["logger"].get("tensorboard"))
    log.info(next_steps(run.folder, run.checkpoint, has_curves))
