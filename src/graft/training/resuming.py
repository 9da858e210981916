"""Finds the checkpoint to go on from, and refuses to go on with another run than it was made by."""

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from graft.errors import UserError
from graft.models.checkpoints import DESCRIPTION, read_checkpoint
from graft.models.freezing import Phase
from graft.training.resumable_settings import refuse_other_settings, settings_that_matter

log = logging.getLogger(__name__)

# Where the first process of a run tells those that it starts which checkpoint is the newest.
NEWEST = "GRAFT_NEWEST_CHECKPOINT"


@dataclass(frozen=True)
class Resumption:
    """A checkpoint to go on from, and where in the schedule it was saved."""

    path: Path
    phase: int  # index into the schedule's phases
    phase_began_at: int  # epoch
    phase_began_at_step: int
    phase_is_over: bool  # whether early stopping has ended it
    next_epoch: int
    phases: list[dict[str, Any]]  # the schedule it was made with; see `described`
    images: str  # see `ImageFolderDataModule.digest`
    learning_rate: float  # of the head; with learning_rate=auto, the one that was found

    def refuse_other_images(self, digest: str) -> None:
        """Raise a UserError where the run's images, classes or splits are not the checkpoint's.

        An image that was trained on could otherwise be validated or tested on.
        """
        if digest != self.images:
            splits = self.path.parent.parent / "splits.csv"
            raise UserError(
                f"resume: {self.path} was made with other images, classes or splits; "
                f"write data.splits={splits} to go on with its own."
            )

    def refuse_other_phases(self, phases: Sequence[Phase]) -> None:
        """Raise a UserError where the schedule differs from the checkpoint's, or ends before its epoch.

        The number of epochs may differ from the checkpoint's phase on, as `trainer.max_epochs` changes it.
        """
        asked = described(phases)
        if len(asked) != len(self.phases):
            raise UserError(
                f"resume: {self.path} was made with the phases {names(self.phases)}; this run has "
                f"{names(asked)}. Change freeze and finetuning back to what they were."
            )
        for number, (was, now) in enumerate(zip(self.phases, asked, strict=True)):
            for key in was:
                if was[key] != now[key] and (key != "epochs" or number < self.phase):
                    raise UserError(
                        f"resume: {self.path} was made with a phase {number + 1} ({was['name']}) whose "
                        f"{key} is {was[key]}; in this run it is {now[key]}."
                    )
        end = self.phase_began_at + phases[self.phase].epochs
        if self.next_epoch > end:
            raise UserError(
                f"resume: {self.path} has finished {self.next_epoch} epochs, and its phase "
                f"({phases[self.phase].name}) would now end after {end}; raise trainer.max_epochs."
            )


def described(phases: Sequence[Phase]) -> list[dict[str, Any]]:
    """Return the phases as plain containers, for a checkpoint."""
    return [{**asdict(phase), "learns": list(phase.learns)} for phase in phases]


def names(phases: Sequence[dict[str, Any]]) -> str:
    """Return the names of described phases in their order."""
    return ", ".join(phase["name"] for phase in phases)


def find_resumption(config: DictConfig, processes: int, precision: str) -> Resumption | None:
    """Return what `resume` names: nothing, a path, or the newest run's last checkpoint.

    `processes` and `precision` are the Trainer's. Raises UserError where the checkpoint is not there,
    damaged, or was made with other settings.
    """
    if config.resume is None:
        return None
    path = newest_checkpoint(config) if config.resume == "last" else Path(config.resume)
    try:
        checkpoint = read_checkpoint(path)
    except UserError as error:
        best = path.with_name("best.ckpt")
        if config.resume != "last" or not best.is_file():
            raise
        log.warning("%s Going on from %s instead.", error, best)
        path, checkpoint = best, read_checkpoint(best)
    description = checkpoint[DESCRIPTION]
    saved, asked = description["settings"], settings_that_matter(config, processes, precision)
    learning_rate = saved["optimizer"]["lr"]
    if config.learning_rate == "auto" and description["finds_rate"]:
        asked["optimizer"]["lr"] = learning_rate  # It was found when the run began.
    elif config.learning_rate == "auto":
        asked["optimizer"]["lr"] = "auto"  # A search would come too late.
    refuse_other_settings(path, saved, asked, config)
    epochs = description["max_epochs"]
    if epochs != config.trainer.max_epochs:
        log.warning(
            "trainer.max_epochs was %s and is %s now: from here on the run is not the one that would "
            "have gone on, its learning rates follow the new number.",
            epochs,
            config.trainer.max_epochs,
        )
    log.info("resuming   %s (epoch %d is done)", path, checkpoint["epoch"] + 1)
    return Resumption(
        path,
        **description["position"],
        next_epoch=checkpoint["epoch"] + 1,
        phases=description["phases"],
        images=description["images"],
        learning_rate=learning_rate,
    )


def last_checkpoint(config: DictConfig) -> Path:
    """Return where the run's own `last.ckpt` is or will be."""
    return Path(config.paths.run) / "checkpoints" / "last.ckpt"


def newest_checkpoint(config: DictConfig) -> Path:
    """Return the run's own `last.ckpt`, or the one that was written last below the folder of all runs.

    Processes that another one of the run has started take what that one has found: meanwhile a run beside
    this one may have saved a newer one.
    """
    if int(os.environ.get("LOCAL_RANK", 0)) > 0 and NEWEST in os.environ:
        return Path(os.environ[NEWEST])
    runs = Path(config.paths.logs) / "train" / "runs"
    found = sorted(runs.glob("*/checkpoints/last.ckpt"), key=lambda file: file.stat().st_mtime)
    own = last_checkpoint(config)
    if not own.is_file() and not found:
        raise UserError(f"resume=last: no run in {runs} has a checkpoint; write resume=PATH.")
    newest = own if own.is_file() else found[-1]
    os.environ[NEWEST] = str(newest)
    return newest
