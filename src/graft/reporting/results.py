"""What the test of a run leaves behind: `predictions.csv`, and the report where it is asked for."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import lightning as L
from omegaconf import DictConfig

from graft.data.folder import Sample
from graft.data.module import ImageFolderDataModule
from graft.inference.explanation import Overlays
from graft.inference.prediction_files import write_labelled_predictions
from graft.models.freezing import Phase
from graft.reporting.board.start import writer_of
from graft.training.callbacks.predictions import KeepPredictions, Predictions
from graft.training.module import TransferModule

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

    @cached_property
    def overlays(self) -> Overlays:
        """Where the checkpoint sees the labels; figures and report show some of the same images."""
        return Overlays(self.checkpoint)

    @property
    def predictions(self) -> Predictions:
        """What the test made of `tested`, in their order."""
        callbacks: list[L.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        kept = next(found for found in callbacks if isinstance(found, KeepPredictions)).test
        assert kept is not None, "the test comes before its results"
        return kept

    @property
    def tested(self) -> list[Sample]:
        """The samples of the test split that were tested: the first ones with `limit_test_batches`."""
        return self.data.samples["test"][: len(self.predictions.labels)]


def write_results(run: FinishedRun) -> None:
    """Write `predictions.csv` of the test split, TensorBoard's figures and, where asked for, `report.html`.

    What goes wrong with figures and report is a warning: the run itself is over and written.
    """
    folder = Path(run.config.paths.run)
    paths = [sample.path for sample in run.tested]
    kept = run.predictions
    write_labelled_predictions(
        folder / "predictions.csv", paths, kept.labels, kept.probabilities, run.data.class_names
    )
    # Not before they are needed: matplotlib and jinja2 take a while to load.
    if writer_of(run.trainer) is not None:
        from graft.reporting.board.results import show_results

        attempt("TensorBoard lacks the figures of the test", lambda: show_results(run))
    if run.config.report:
        from graft.reporting.report.run import write_run_report

        file = folder / "report.html"
        if attempt("report.html is not written", lambda: write_run_report(file, run)):
            log.info("  open the report   %s", file)


def attempt(failure: str, show: Callable[[], None]) -> bool:
    """Show what came out; what goes wrong becomes a warning. Return whether it went well."""
    try:
        show()
    except Exception as error:
        # Images may have vanished, the disk may be full; figures have many ways to fail.
        is_asked = os.environ.get("GRAFT_DEBUG") == "1"
        log.warning("%s (%s: %s).", failure, type(error).__name__, error, exc_info=is_asked)
        return False
    return True
