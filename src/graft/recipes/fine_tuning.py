"""The second step of a recipe: fine-tuning for the time that is left."""

from pathlib import Path
from typing import Any

import lightning as L

from graft.models.checkpoints import save_atomically
from graft.recipes import budget
from graft.recipes.plan import Plan, read_plan
from graft.training.callbacks.predictions import VALIDATION, KeepPredictions
from graft.training.lightning_internals import callbacks_of
from graft.training.module import TransferModule
from graft.training.summary import plural

MOST_EPOCHS = 12  # Validation losses rise from about the seventh on ...
ENOUGH_STEPS = 500  # ... but few images need more steps (Kolesnikov et al. 2020, Big Transfer).
HEAD_EPOCHS = 2  # of the head alone. From a solved head, the first fine-tuned epoch raised val/loss by half.
AVERAGES = 3  # validations of averages that time is kept for
WEIGHTS = "weights"  # the key in such a file, beside VALIDATION
EPOCHS = Path("checkpoints", "epochs")  # what each epoch left, in the run's folder


def plan_fine_tuning(plan: Plan, pace: budget.Pace, left: float, solving: float) -> None:
    """Put the number of epochs that fit into `left` seconds into the plan, with validation, average and test.

    It is the plain schedule `freeze=n`, from a head that is trained for a few epochs on cached features.
    Time is kept for fitting the best head again, whose solution took `solving` seconds.
    """
    plan.seconds_after_fit = pace.after_fit + solving + budget.REFIT
    seconds = left - plan.seconds_after_fit - AVERAGES * pace.evaluate("val")
    # No margin: the pace counts reading as if nothing else went on, and the deadline ends a slower fit.
    epochs = min(int((seconds - pace.before_fit) / pace.epoch), max(MOST_EPOCHS, pace.epochs(ENOUGH_STEPS)))
    reason = f"an epoch takes about {pace.epoch:.0f} s, and {max(0, seconds):.0f} s are left for it"
    if epochs < pace.fewest_epochs:
        plan.note(f"no fine-tuning: {reason}; it needs {plural(pace.fewest_epochs, 'epoch')}")
        return
    plan.settings = {"freeze": HEAD_EPOCHS, "trainer.max_epochs": HEAD_EPOCHS + epochs}
    plan.settings |= {"features.views": 1, "head.solver": None}
    plan.fit_until = budget.now() + seconds
    plan.note(f"fine-tuning for {plural(epochs, 'epoch')}: {reason}")


class FollowPlan(L.Callback):
    """Ends the fit when the plan says so; saves weights and validation of each epoch for the last step."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.until = read_plan(self.folder).fit_until

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        if self.until is not None and budget.now() > self.until:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, TransferModule)
        file = self.folder / EPOCHS / f"{trainer.current_epoch + 1}.pt"
        validation = next(callbacks_of(trainer, KeepPredictions)).last
        assert validation is not None
        save_atomically({WEIGHTS: pl_module.classifier.state_dict(), VALIDATION: vars(validation)}, file)
