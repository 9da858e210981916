"""Which validation metric picks the best checkpoint, and whether lower or higher values of it are better."""

from typing import Literal

import lightning as L

from graft.errors import UserError
from graft.tasks.measurements import Measurements

Mode = Literal["min", "max"]


def better_direction(module: L.LightningModule, monitor: str, mode: str = "auto") -> Mode:
    """Return `min` where lower values of the metric `monitor` are better, `max` where higher ones are.

    With `mode="auto"` the metric itself says so: `Measurements.direction`. Raises UserError
    where the metric does not say.
    """
    if mode in ("min", "max"):
        return mode  # type: ignore[return-value]
    measured = getattr(module, "val_measured", None)
    assert isinstance(measured, Measurements), "a module keeps its validation metrics in val_measured"
    if monitor not in measured.names:
        raise UserError(
            f"monitor={monitor} is not measured. Choose one of: {', '.join(measured.names)}; for a metric "
            "that your own code logs, write monitor_mode=min or monitor_mode=max as well."
        )
    direction = measured.direction(monitor)
    if direction is None:
        raise UserError(
            f"monitor={monitor}: the metric does not say whether lower or higher values are better; "
            "write monitor_mode=min or monitor_mode=max."
        )
    return direction


def monitor_summary(monitor: str, direction: Mode) -> str:
    ranks = {monitor: direction, "val/loss": "min"}
    words = [f"{'lowest' if better == 'min' else 'highest'} {name}" for name, better in ranks.items()]
    return f"best       {', then '.join(words)}, then the latest epoch"
