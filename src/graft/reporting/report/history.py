"""Reads the curves of a run back from what Lightning's CSVLogger wrote."""

from collections.abc import Iterable
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger

from graft.data.tables import read_rows

# The values of each logged metric by epoch, counted from 1.
History = dict[str, dict[int, float]]


def read_history(loggers: Iterable[Logger]) -> History:
    """Return the metrics of every epoch; nothing where there is no CSV logger."""
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            file = Path(logger.log_dir) / "metrics.csv"
            return history_of(file) if file.is_file() else {}
    return {}


def history_of(file: Path) -> History:
    """Return the metrics of every epoch in a metrics.csv."""
    history: History = {}
    for row in read_rows(file)[1]:
        for name, value in row.items():
            if row["epoch"] and value and name.startswith(("train/", "val/")):
                history.setdefault(name, {})[int(float(row["epoch"])) + 1] = float(value)
    return history
