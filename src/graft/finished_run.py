"""The record of a finished run: plain values and its task, all that reporting needs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from graft.data.sample import Sample
from graft.preprocessing import Preprocessing
from graft.tasks.task import Task

# The values of each logged metric (`train/loss`, `val/accuracy`, ...) by epoch, counted from 1.
History = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class PhaseRecord:
    """What was trainable in a phase, for how long, and at which learning rates."""

    name: str
    stages: tuple[str, ...]
    epochs: int
    patience: int | None
    head_learning_rate: float
    backbone_learning_rate: float | None  # of the last stage; None where the backbone was frozen
    parameters: int  # trainable ones


@dataclass(frozen=True)
class FinishedRun:
    """A run whose best checkpoint is tested."""

    folder: Path
    settings: Mapping[str, Any]  # all of them, resolved, as plain containers
    overrides: Sequence[str] | None  # what was typed after `train.py`; None where it was not run
    network: str  # name and source
    weights: str
    device: str
    task: Task
    root: Path  # of the images
    splits: Mapping[str, Sequence[Sample]]
    preprocessing: Preprocessing
    phases: Sequence[PhaseRecord]
    history: History
    metrics: Mapping[str, float]  # those of metrics.json
    logits: Tensor  # [N, C], of the first N test samples
    targets: Tensor  # [N] or [N, C]
    checkpoint: Path
    is_first_process: bool = True
    lower_is_better: bool = False  # of the monitored metric
    views: int | None = None  # of a training image, whose features were cached; all but the first augmented

    @property
    def tested(self) -> Sequence[Sample]:
        """The test samples that were tested: the first ones with `limit_test_batches`."""
        return self.splits["test"][: len(self.logits)]


SEED = "seed"  # Jobs of a sweep that differ in it alone are one configuration.


@dataclass(frozen=True)
class SweepJob:
    """A job of a sweep: what it was given, and what came out or why it failed."""

    overrides: Sequence[str]  # as Hydra writes them
    error: str = ""
    monitor: str = ""  # the name of the validation metric
    lower_is_better: bool = False
    curve: Mapping[int, float] = field(default_factory=dict)  # of that metric, by epoch
    validation: float = math.nan  # its value at the best epoch ...
    test: float = math.nan  # ... and that of the same metric in the test
    seconds: float = math.nan

    @property
    def settings(self) -> dict[str, str]:
        """The overrides by key, without Hydra's `+`."""
        parts = (override.lstrip("+~").partition("=") for override in self.overrides)
        return {key: value for key, _, value in parts}

    def described(self, keys: Sequence[str]) -> str:
        """Return these of its settings as they are typed."""
        return (
            " ".join(f"{key}={self.settings[key]}" for key in keys if key in self.settings) or "all the same"
        )
