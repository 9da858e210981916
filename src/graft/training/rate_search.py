"""The learning-rate range test of `learning_rate=auto`: a short training at rising rates."""

import copy
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.seed import isolate_rng

from graft.data.module import ImageDataModule
from graft.errors import UserError
from graft.models.folding import FoldedTraining
from graft.training.module import Batch, TransferModule
from graft.training.optimizers import LearningRates, parameter_groups

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

RATES: list[float] = np.geomspace(1e-6, 10.0, num=100).tolist()  # of the head, tried in turn
STEPS_A_DECADE = round((len(RATES) - 1) / math.log10(RATES[-1] / RATES[0]))
SMOOTHING = 4  # steps to either side that a loss is averaged with
TOO_HIGH = 4.0  # times the lowest smoothed loss: the rates from here on only diverge
LEAST_CERTAINTY = 3.0  # standard errors that a fall of the loss is away from none


@dataclass(frozen=True)
class Curve:
    """What a range test measured, step by step."""

    rates: list[float]  # the head's
    losses: list[float]  # of a batch each, before the step at that rate


def choose_learning_rate(trainer: L.Trainer, module: TransferModule, data: ImageDataModule) -> LearningRates:
    """Return the learning rates; the head's is where the loss falls fastest in the phase's range test.

    The rate has two digits, so that it can be typed. The curve is drawn into the run's folder and into
    TensorBoard. Raises UserError with several processes, and where the loss never clearly decreases.
    """
    if trainer.world_size > 1:
        raise UserError(
            "learning_rate=auto needs one process; run it once with trainer.devices=1, "
            "then write learning_rate=NUMBER."
        )
    curve = range_test(module, data, trainer.strategy.root_device)
    steps = len(curve.losses)
    if steps <= STEPS_A_DECADE:
        raise UserError(
            f"learning_rate=auto: the loss diverges within {steps} steps at the smallest learning rates; "
            "check the data and the settings, or write learning_rate=NUMBER."
        )
    rate = fastest_fall(curve)
    file = show(trainer, curve, rate)
    if rate is None:
        raise UserError(
            f"learning_rate=auto: the loss never clearly decreases in {steps} steps from {RATES[0]:g} to "
            f"{curve.rates[-1]:.2g} (curve in {file}); write learning_rate=NUMBER."
        )
    log.info("rate       %g: the loss falls fastest there in %d steps\n  curve    %s", rate, steps, file)
    return replace(module.learning_rates, head=rate)


def range_test(module: TransferModule, data: ImageDataModule, device: torch.device) -> Curve:
    """Train a copy of the module in 32 bits with a rate that grows exponentially, until the loss shoots up.

    Smith 2015, Cyclical Learning Rates for Training Neural Networks, section 3.3. The rates of all parameter
    groups grow together, so their ratios are those of training. One batch makes a step. Module, data and
    random generators are left as they were.
    """
    rates: list[float] = []
    losses: list[float] = []
    trial = copy.deepcopy(module).to(device).train()
    trial.train_forward = FoldedTraining(trial.classifier)  # A compiled one is the module's.
    with isolate_rng():
        rates_of_groups = replace(trial.learning_rates, head=trial.phase.rate_factor)
        optimizer = trial.make_optimizer(parameter_groups(trial.classifier, rates_of_groups))
        shares = [group["lr"] for group in optimizer.param_groups]
        for rate, (inputs, labels) in zip(RATES, endless_batches(data), strict=False):
            loss, _ = trial.training_loss((inputs.to(device), labels.to(device)))
            if not math.isfinite(loss.item()):
                break
            rates.append(rate)
            losses.append(loss.item())
            level = smoothed(losses)
            if level[-1] > TOO_HIGH * level.min():
                break
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                group["lr"] = share * rate
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Curve(rates, losses)


def endless_batches(data: ImageDataModule) -> Iterator[Batch]:
    loader = data.train_dataloader()
    epoch = 0
    while True:
        loader.batch_sampler.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        yield from loader
        epoch += 1


def smoothed(losses: list[float]) -> np.ndarray:
    """Return every loss averaged with its neighbours; unlike a running average this does not lag behind."""
    window = np.ones(2 * SMOOTHING + 1)
    sums, counts = (np.convolve(values, window) for values in (losses, np.ones(len(losses))))
    return np.asarray(sums / counts)[SMOOTHING:-SMOOTHING]


def fastest_fall(curve: Curve) -> float | None:
    """Return the rate, in two digits, around which the loss falls fastest; None where it never clearly does.

    A straight line is fitted to the losses against log10(rate) of every decade of rates below the lowest
    smoothed loss; the middle of the decade with the steepest fall is chosen. Being half a decade or more
    below the rate of the lowest loss, it keeps away from where training diverges. A fall that the scatter of
    the batches explains does not count.
    """
    from scipy.stats import linregress  # Takes a while to import.

    end = int(smoothed(curve.losses).argmin()) + 1
    steepest, chosen = 0.0, None
    for first in range(end - STEPS_A_DECADE):
        decade = slice(first, first + STEPS_A_DECADE + 1)
        line = linregress(np.log10(curve.rates[decade]), curve.losses[decade])
        if line.slope < min(steepest, -LEAST_CERTAINTY * line.stderr):
            steepest, chosen = line.slope, curve.rates[first + STEPS_A_DECADE // 2]
    return None if chosen is None else float(f"{chosen:.2g}")


def show(trainer: L.Trainer, curve: Curve, rate: float | None) -> Path:
    figure = draw(curve, rate)
    file = Path(trainer.default_root_dir) / "learning_rate.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure("while training/range test", figure)
    return file


def draw(curve: Curve, rate: float | None) -> "Figure":
    from matplotlib.figure import Figure  # Not before it is needed: importing it takes a while.

    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    level = smoothed(curve.losses)
    axes.plot(curve.rates, curve.losses, ".", color="0.7", markersize=4, label="loss of a batch")
    axes.plot(curve.rates, level, color="#0072B2", linewidth=2, label="smoothed")
    if rate is not None:
        axes.axvline(rate, color="#D55E00", linestyle="--", linewidth=1, label=f"chosen: {rate:g}")
    axes.set_xscale("log")
    # One wild batch must not flatten the rest of the curve.
    axes.set_ylim(0, 1.1 * float(max(level.max(), np.median(curve.losses))))
    axes.set_xlabel("learning rate of the head")
    axes.set_ylabel("training loss")
    axes.set_title("Learning-rate range test")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
