"""The last step of a recipe: an average of the fine-tuned epochs, where it gained enough over the head."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from graft.models.checkpoints import WEIGHTS_PREFIX, read_checkpoint, save_atomically
from graft.recipes.budget import Budget
from graft.recipes.fine_tuning import EPOCHS, WEIGHTS
from graft.recipes.plan import Plan
from graft.training.callbacks.predictions import VALIDATION, KeepPredictions, Predictions
from graft.training.lightning_internals import callbacks_of
from graft.training.record import Fitted

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Candidate:
    """What may be the result of the recipe: the weights of an epoch, or a mean of several."""

    epochs: tuple[int, ...]
    weights: Weights
    validation: Predictions
    metrics: dict[str, float]


def choose_result(fitted: Fitted, plan: Plan, budget: Budget) -> bool:
    """Put a greedy average of the epochs in the place of the best epoch; return whether it is the result.

    It has to have more validation images right than the head, by more than the standard error of the
    difference.
    """
    folder, checkpoints = plan.folder / EPOCHS, fitted.checkpoints
    epochs = sorted(int(file.stem) for file in folder.glob("*.pt"))
    if not epochs:  # A resumed run that was over: its best checkpoint may be an average already.
        saved = read_checkpoint(checkpoints.best_path)["callbacks"][checkpoints.state_key]
        checkpoints.best_epoch, checkpoints.best_metrics = saved["best_epoch"], saved["best_metrics"]
        return True
    ranked = sorted(epochs, key=lambda epoch: (checkpoints.rank(metrics_of(fitted, epoch)), epoch))
    best = averaged(candidate(fitted, folder, ranked.pop()), ranked, fitted, plan, budget)
    gain, error = images_gained(plan.wrong, best.validation)
    if gain <= error:
        plan.note(
            f"fine-tuning changes the validation images right by {gain:+d}, with a standard error of "
            f"{error:.1f}: not taken, the best head is fitted again"
        )
        return False
    plan.averaged = list(best.epochs)
    plan.write()
    keep(fitted, best)
    shutil.rmtree(folder)  # Last: a run that is killed before resumes from what is there.
    return True


def averaged(best: Candidate, others: list[int], fitted: Fitted, plan: Plan, budget: Budget) -> Candidate:
    """Return the best epoch, averaged with those that do not make its validation worse.

    From the best of `others`, the last, to the worst, each joins the average unless validation gets worse,
    as long as the time lasts (Wortsman et al. 2022, Model soups, arXiv:2203.05482).
    """
    trainer, rank, first = fitted.trainer, fitted.checkpoints.rank, best.epochs[0]
    predictions = next(callbacks_of(trainer, KeepPredictions))
    loggers, trainer.loggers = trainer.loggers, []  # What is tried is no epoch of the curves.
    for tried, epoch in enumerate(reversed(others), start=1):
        before = budget.left()
        joined = mean(best.weights, candidate(fitted, plan.folder / EPOCHS, epoch).weights, len(best.epochs))
        fitted.module.classifier.load_state_dict(joined)
        found = dict(trainer.validate(fitted.module, datamodule=fitted.data, verbose=False)[0])
        if rank(found) >= rank(best.metrics):
            assert predictions.last is not None
            best = Candidate((*best.epochs, epoch), joined, predictions.last, found)
        if epoch == others[0] or 2 * budget.left() - before < plan.seconds_after_fit:
            plan.note(f"average: {len(best.epochs) - 1} of {tried} other epochs joined epoch {first}")
            break
    trainer.loggers = loggers
    return best


def keep(fitted: Fitted, best: Candidate) -> None:
    """Write the result into the best checkpoint."""
    checkpoints = fitted.checkpoints
    if best.epochs == (checkpoints.best_epoch,):
        return
    checkpoints.best_epoch, checkpoints.best_metrics = best.epochs[0], best.metrics
    checkpoint = read_checkpoint(checkpoints.best_path)
    checkpoint["state_dict"] |= {WEIGHTS_PREFIX + name: value for name, value in best.weights.items()}
    checkpoint["callbacks"][checkpoints.state_key] = checkpoints.state_dict()
    checkpoint[VALIDATION] = vars(best.validation)
    save_atomically(checkpoint, checkpoints.best_path)


def candidate(fitted: Fitted, folder: Path, epoch: int) -> Candidate:
    saved = torch.load(folder / f"{epoch}.pt", map_location="cpu", weights_only=True)
    validation = Predictions(**saved[VALIDATION])
    return Candidate((epoch,), saved[WEIGHTS], validation, metrics_of(fitted, epoch))


def images_gained(were_wrong: Sequence[int], predictions: Predictions) -> tuple[int, float]:
    """Return how many more images are right than before, and the standard error of that."""
    wrong = (predictions.logits.argmax(dim=1) != predictions.targets).nonzero().flatten().tolist()
    changed = set(were_wrong) ^ set(wrong)
    return len(were_wrong) - len(wrong), len(changed) ** 0.5


def metrics_of(fitted: Fitted, epoch: int) -> dict[str, float]:
    return {name: values[epoch] for name, values in fitted.history.items() if name.startswith("val/")}


def mean(average: Weights, other: Weights, count: int) -> Weights:
    """Return the average of `count` sets of weights and one more; whole numbers stay."""
    return {
        name: value.lerp(other[name], 1 / (count + 1)) if value.is_floating_point() else value
        for name, value in average.items()
    }
