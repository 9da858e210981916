"""What the test of a run leaves behind: `predictions.csv`, and the report where it is asked for."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import lightning as L
from omegaconf import DictConfig

from graft.callbacks.predictions import KeepPredictions, Predictions
from graft.data import ImageFolderDataModule
from graft.finetuning import Phase
from graft.module import TransferModule
from graft.prediction_files import write_labelled_predictions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedRun:
    """A run whose best checkpoint is tested."""

    config: DictConfig
    trainer: L.Trainer
    module: TransferModule
    data: ImageFolderDataModule
    phases: list[Phase]
    metrics: Mapping[str, float]
    checkpoint: Path

    @property
    def predictions(self) -> Predictions:
        """What the test made of `data.samples["test"]`, in their order."""
        callbacks: list[L.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        kept = next(found for found in callbacks if isinstance(found, KeepPredictions)).predictions
        assert kept is not None, "the test comes before its results"
        return kept


def write_results(run: FinishedRun) -> None:
    """Write `predictions.csv` of the test split and, with `report=true`, `report.html`.

    What goes wrong with the report is a warning: the run itself is over and written.
    """
    folder = Path(run.config.paths.run)
    paths = [sample.path for sample in run.data.samples["test"]]
    kept = run.predictions
    write_labelled_predictions(
        folder / "predictions.csv", paths, kept.labels, kept.probabilities, run.data.class_names
    )
    if not run.config.report:
        return
    from graft.report.run import (
        write_run_report,
    )  # Not before it is needed: matplotlib and jinja2 take a while.

    try:
        write_run_report(folder / "report.html", run)
    except Exception as error:
        # Pictures may have vanished, the disk may be full; a page of many parts has many ways to fail.
        is_asked = os.environ.get("GRAFT_DEBUG") == "1"
        log.warning("report.html is not written (%s: %s).", type(error).__name__, error, exc_info=is_asked)
    else:
        log.info("  open the report   %s", folder / "report.html")
