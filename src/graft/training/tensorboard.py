"""TensorBoard's curves, those that people look for first."""

from collections.abc import Mapping

from lightning.pytorch.loggers import TensorBoardLogger

ASIDE = ("lr-", "phase")  # TensorBoard sorts by name and unfolds the first groups: train and val.


class TensorBoard(TensorBoardLogger):
    """Lightning's logger without what is no curve: the number of the epoch, and the metrics of the test."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write metrics by step; learning rates and phases come after losses and metrics."""
        curves = {name: x for name, x in metrics.items() if name != "epoch" and not name.startswith("test/")}
        named = {f"while training/{n}" if n.startswith(ASIDE) else n: x for n, x in curves.items()}
        super().log_metrics(named, step)
