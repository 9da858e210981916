"""recipe=auto: the best network for the time there is, in three steps that explain themselves."""

import shlex
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig

from graft.data.labelled_images import read_labelled_images
from graft.errors import UserError
from graft.memory import keep_freed_memory
from graft.models.checkpoints import DESCRIPTION, read_checkpoint
from graft.recipes.budget import Budget
from graft.recipes.checks import refuse_images, refuse_settings
from graft.recipes.fine_tuning import EPOCHS, FollowPlan, plan_fine_tuning
from graft.recipes.heads import HeadSearch, choose_head, with_interval
from graft.recipes.plan import Plan, read_plan, with_values
from graft.recipes.result import choose_result
from graft.training import run
from graft.training.building import build_task
from graft.training.record import Fitted
from graft.training.resumable_settings import written
from graft.training.summary import PROJECT, executable, from_here, plural
from graft.training.trainer import build_trainer

FEWEST_WRONG = 2  # validation images: with fewer, no gain is above its standard error, see `choose_result`
FOLLOWER = f"{FollowPlan.__module__}.{FollowPlan.__qualname__}"


def fit_within_budget(settings: dict[str, Any], started: float | None = None) -> Fitted:
    """Fit the best network for `time_budget`, as far as validation can tell, and leave time to test it.

    The time counts from `started`, in seconds since 1970, or from now on.
    """
    began, budget = time.monotonic(), Budget(settings["time_budget"], started)
    keep_freed_memory()
    trainer = build_trainer(settings | {"logger": {}})
    refuse_settings(settings, build_task(settings["task"]), trainer)
    plan = make_plan(settings, trainer, budget) if settings["resume"] is None else resumed_plan(settings)
    resume, fitted = settings["resume"], None
    if plan.fine_tunes:
        resume, fitted = None, fine_tuned(settings, plan, budget)
    if fitted is None:
        fitted = fit_head(settings | {"resume": resume}, plan)
    fitted.began = began
    note_winner(fitted, plan)
    return fitted


def fine_tuned(settings: dict[str, Any], plan: Plan, budget: Budget) -> Fitted | None:
    """Return the fine-tuned network, or None where it gained too little over the best head."""
    chosen = with_values(settings, plan.settings)
    chosen["callbacks"]["recipe"] = {"_target_": FOLLOWER, "folder": str(plan.folder)}
    fitted = run.fit(chosen)
    if choose_result(fitted, plan, budget):
        return fitted
    for curves in ("csv", "tensorboard"):  # The head has its own.
        shutil.rmtree(plan.folder / curves, ignore_errors=True)
    return None


def fit_head(settings: dict[str, Any], plan: Plan) -> Fitted:
    """Fit the best head: in seconds, as its features are cached."""
    fitted = run.fit(with_values(settings, plan.head))
    # Only now: a run that is killed before resumes what `last.ckpt` has.
    plan.settings = plan.head
    plan.write()
    shutil.rmtree(plan.folder / EPOCHS, ignore_errors=True)
    return fitted


def make_plan(settings: dict[str, Any], trainer: L.Trainer, budget: Budget) -> Plan:
    """Choose the head, then the epochs of fine-tuning. Raises UserError for settings that leave no choice."""
    L.seed_everything(settings["seed"], workers=True, verbose=False)
    images = read_labelled_images(settings["data"], build_task(settings["task"]))
    refuse_images(settings, images)
    plan = Plan(Path(settings["paths"]["run"]))
    search = HeadSearch(settings, images, trainer, budget.ending)
    if budget.is_auto:
        budget.take_enough(search.pace)
        plan.note(f"time budget: {budget.seconds:.0f} s, by the pace of this machine with these images")
    head = choose_head(search, plan, budget)
    if settings["regularisation"]["l2_sp"]:
        plan.head["regularisation.l2_sp"] = 0.0  # It pulls a trainable backbone.
    plan.settings = plan.head
    if head is None or budget.is_nearly_over:
        plan.note(f"no fine-tuning: {max(0, budget.left()):.0f} s are left")
        return plan
    before = budget.left()
    plan.wrong = search.wrong_in_validation(head)
    if len(plan.wrong) < FEWEST_WRONG:
        validated = plural(len(images.samples["val"]), "validation image")
        plan.note(
            f"no fine-tuning: the head has {len(plan.wrong)} of {validated} wrong, too few to show a gain"
        )
    else:
        plan_fine_tuning(plan, search.pace, budget.left(), solving=before - budget.left())
    if plan.fine_tunes and search.own < search.most:
        search.share_features(1)
    return plan


def resumed_plan(settings: dict[str, Any]) -> Plan:
    """Return the plan of the run that goes on: its epochs stay, whatever time they take now."""
    plan, folder = read_plan(Path(settings["resume"]).parent.parent), Path(settings["paths"]["run"])
    epochs = plan.folder / EPOCHS
    if epochs.is_dir() and plan.folder.resolve() != folder.resolve():
        shutil.copytree(epochs, folder / EPOCHS, dirs_exist_ok=True)
    plan.folder, plan.fit_until = folder, None
    with suppress(UserError):  # `find_resumption` says what to do about a damaged checkpoint.
        if read_checkpoint(Path(settings["resume"]))[DESCRIPTION]["settings"]["freeze"] is True:
            plan.settings = plan.head  # It was killed before it could write this.
    plan.write()
    return plan


def note_winner(fitted: Fitted, plan: Plan) -> None:
    """Note the result, how certain its validation is, and the plain command that repeats it."""
    checkpoints = fitted.checkpoints
    validation = run.best_validation(fitted)
    right = int((validation.logits.argmax(dim=1) == validation.targets).sum())
    winner, average = f"epoch {checkpoints.best_epoch}", ""
    if not plan.fine_tunes:
        winner = "the solved head"
    elif len(plan.averaged) > 1:
        winner = f"the mean of the weights after epochs {', '.join(map(str, sorted(plan.averaged)))}"
        average = f", then {winner}"
    plan.note(
        f"result: {winner}, {with_interval(right, len(validation.targets))} in validation; this is "
        "optimistic, because these images made the choice"
    )
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    dropped = (*plan.settings, "recipe", "time_budget", "resume", "paths.run")
    kept = [override for override in typed if override.partition("=")[0].lstrip("+") not in dropped]
    chosen = [f"{key}={written(value)}" for key, value in plan.settings.items()]
    command = shlex.join([executable("python"), from_here(PROJECT / "train.py"), *kept, *chosen])
    plan.note(f"again: {command}{average}")
