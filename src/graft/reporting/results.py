"""What a finished run leaves to look at: the figures in TensorBoard, and the report where it is asked for."""

import json
import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from graft.finished_run import FinishedRun
from graft.inference.explanation import Overlays
from graft.reporting.report.advice import Advice, as_lines
from graft.reporting.settings import bands_of

log = logging.getLogger(__name__)
T = TypeVar("T")


def write_results(run: FinishedRun) -> list[Advice]:
    """Write TensorBoard's figures of the test and, where asked for, `report.html`; return its advice.

    What goes wrong with them is a warning: the run itself is over and written.
    """
    if run.settings["report"]:
        log.info("\nwriting report.html ...")
    # Figures and report show some of the same images. What the settings name, the run has imported itself.
    packages = re.findall(r'"_target_": "(\w+)', json.dumps(dict(run.settings), default=str))
    allowed, bands = sorted(set(packages)), bands_of(run.settings)
    overlays = Overlays(run.checkpoint, allowed, bands if run.preprocessing.channels > 3 else None)
    logger, advice = run.settings["logger"].get("tensorboard"), None
    # Imported when they are needed: matplotlib and jinja2 take a while to load.
    if logger:
        from graft.reporting.board.results import show_results

        parts = (str(logger.get(key) or "") for key in ("save_dir", "name", "version"))
        folder = Path(*parts)
        attempt("TensorBoard lacks the test figures", lambda: show_results(folder, run, overlays))
    if run.settings["report"]:
        from graft.reporting.report.run import write_run_report

        file = run.folder / "report.html"
        advice = attempt("report.html is not written", lambda: write_run_report(file, run, overlays))
        if advice:
            log.info("  open the report   %s", file)
    return advice or []


def show_advice(advice: Sequence[Advice]) -> None:
    """Say in the terminal and in train.log what to try next."""
    if advice:
        log.info("%s", as_lines(advice))


def attempt(failure: str, show: Callable[[], T]) -> T | None:
    """Return what `show` does; an error becomes a warning."""
    try:
        return show()
    except Exception as error:
        # Images may have vanished, the disk may be full; figures have many ways to fail.
        is_asked = os.environ.get("GRAFT_DEBUG") == "1"
        log.warning("%s (%s: %s).", failure, type(error).__name__, error, exc_info=is_asked)
        return None
