"""The last step of a recipe: the mean of the weights of several epochs, where it validates better."""

import shutil
from pathlib import Path

import torch
from torch import Tensor

from graft.models.checkpoints import WEIGHTS_PREFIX, read_checkpoint, save_atomically
from graft.recipes.budget import Budget
from graft.recipes.fine_tuning import EPOCHS
from graft.recipes.plan import Plan
from graft.training.callbacks.predictions import VALIDATION, KeepPredictions
from graft.training.lightning_internals import callbacks_of
from graft.training.record import Fitted

Weights = dict[str, Tensor]


def average_epochs(fitted: Fitted, plan: Plan, budget: Budget) -> None:
    """Replace the best checkpoint by a greedy average of the epochs' weights, where that validates better.

    From the best epoch on, each next one joins the average unless validation gets worse, as long as the time
    lasts (Wortsman et al. 2022, Model soups, arXiv:2203.05482).
    """
    checkpoints, trainer, folder = fitted.checkpoints, fitted.trainer, plan.folder / EPOCHS
    predictions = next(callbacks_of(trainer, KeepPredictions))
    measured = {int(file.stem): metrics_of(fitted, int(file.stem)) for file in folder.glob("*.pt")}
    if not measured:  # A resumed run that was over: its best checkpoint may be an average already.
        saved = read_checkpoint(checkpoints.best_path)["callbacks"][checkpoints.state_key]
        checkpoints.best_metrics = saved["best_metrics"]
        return
    ranked = sorted(measured, key=lambda epoch: (checkpoints.rank(measured[epoch]), epoch))
    first = ranked.pop()
    best, average, averaged, kept = measured[first], load(folder, first), [first], predictions.last
    loggers, trainer.loggers = trainer.loggers, []  # What is tried is no epoch of the curves.
    for tried, epoch in enumerate(reversed(ranked), start=1):
        before = budget.left()
        joined = mean(average, load(folder, epoch), len(averaged))
        fitted.module.classifier.load_state_dict(joined)
        found = dict(trainer.validate(fitted.module, datamodule=fitted.data, verbose=False)[0])
        if checkpoints.rank(found) >= checkpoints.rank(best):
            best, average, averaged, kept = found, joined, [*averaged, epoch], predictions.last
        is_last = epoch == ranked[0] or 2 * budget.left() - before < plan.seconds_after_fit
        if is_last:
            plan.averaged = averaged
            plan.note(f"average: {len(averaged) - 1} of {tried} other epochs joined epoch {first}")
            break
    trainer.loggers = loggers
    if len(averaged) > 1:
        checkpoints.best_metrics = best
        checkpoint = read_checkpoint(checkpoints.best_path)
        checkpoint["state_dict"] |= {WEIGHTS_PREFIX + name: value for name, value in average.items()}
        checkpoint["callbacks"][checkpoints.state_key] = checkpoints.state_dict()
        checkpoint[VALIDATION] = vars(kept)
        save_atomically(checkpoint, checkpoints.best_path)
    shutil.rmtree(folder)  # Last: a run that is killed before resumes from what is there.


def metrics_of(fitted: Fitted, epoch: int) -> dict[str, float]:
    return {name: values[epoch] for name, values in fitted.history.items() if name.startswith("val/")}


def load(folder: Path, epoch: int) -> Weights:
    weights: Weights = torch.load(folder / f"{epoch}.pt", weights_only=True)
    return weights


def mean(average: Weights, other: Weights, count: int) -> Weights:
    """Return the average of `count` sets of weights and one more; whole numbers stay."""
    return {
        name: value.lerp(other[name], 1 / (count + 1)) if value.is_floating_point() else value
        for name, value in average.items()
    }
