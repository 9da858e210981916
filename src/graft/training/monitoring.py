"""Which values of the monitored metric are better: what the metric says itself, or `monitor_mode`."""

import lightning as L

from graft.errors import UserError
from graft.training.module import TransferModule

MODES = ("min", "max")


def direction(module: L.LightningModule, monitor: str, mode: str) -> str:
    """Return `min` where lower values of the metric are better, `max` where higher ones are.

    `mode` is `min`, `max` or `auto`: torchmetrics' `higher_is_better`; of a loss, lower is. Raises UserError
    where nothing says it.
    """
    if mode in MODES:
        return mode
    if mode != "auto":
        raise UserError(f"monitor_mode={mode}: write auto, min or max.")
    higher = module.val_measured.higher_is_better(monitor) if isinstance(module, TransferModule) else None
    if higher is None:
        raise UserError(
            f"monitor={monitor}: nothing says whether higher or lower values are better; "
            "write monitor_mode=min or monitor_mode=max."
        )
    return "max" if higher else "min"
