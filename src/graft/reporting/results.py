"""What a finished run leaves to look at: the figures in TensorBoard, and the report where it is asked for."""

import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from graft.finished_run import FinishedRun
from graft.inference.explanation import Overlays

log = logging.getLogger(__name__)


def write_results(run: FinishedRun) -> None:
    """Write TensorBoard's figures of the test and, where asked for, `report.html`.

    What goes wrong with them is a warning: the run itself is over and written.
    """
    if run.settings["report"]:
        log.info("\nwriting report.html ...")
    # Figures and report show some of the same images. What the settings name, the run has imported itself.
    packages = re.findall(r'"_target_": "(\w+)', json.dumps(dict(run.settings), default=str))
    overlays = Overlays(run.checkpoint, sorted(set(packages)))
    logger = run.settings["logger"].get("tensorboard")
    # Imported when they are needed: matplotlib and jinja2 take a while to load.
    if logger:
        from graft.reporting.board.results import show_results

        folder = Path(logger["save_dir"]) / (logger["name"] or "") / str(logger["version"] or "")
        attempt("TensorBoard lacks the figures of the test", lambda: show_results(folder, run, overlays))
    if run.settings["report"]:
        from graft.reporting.report.run import write_run_report

        file = run.folder / "report.html"
        if attempt("report.html is not written", lambda: write_run_report(file, run, overlays)):
            log.info("  open the report   %s", file)


def attempt(failure: str, show: Callable[[], object]) -> bool:
    """Call `show`; an error becomes a warning. Return whether there was none."""
    try:
        show()
    except Exception as error:
        # Images may have vanished, the disk may be full; figures have many ways to fail.
        is_asked = os.environ.get("GRAFT_DEBUG") == "1"
        log.warning("%s (%s: %s).", failure, type(error).__name__, error, exc_info=is_asked)
        return False
    return True
