"""Finds the checkpoint to continue from, and refuses to continue another run."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L

from graft.errors import UserError
from graft.models.checkpoints import DESCRIPTION, read_checkpoint
from graft.models.freezing import Phase
from graft.training.module import Position
from graft.training.resumable_settings import refuse_other_settings, settings_that_matter

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resumption:
    """A checkpoint to continue from, and where in the schedule it was saved."""

    path: Path
    position: Position
    stopped_early: bool  # whether early stopping ended its phase before the phase's last epoch
    next_epoch: int
    phases: dict[str, Any]  # the schedule it was made with; see `phase_settings`
    images: str  # see `LabelledImages.digest`
    learning_rate: float  # of the head; with learning_rate=auto, the one that the search chose

    def refuse_other_images(self, digest: str) -> None:
        """Raise a UserError where the run's images, classes or splits are not the checkpoint's.

        An image that was trained on could otherwise be validated or tested on.
        """
        if digest != self.images:
            splits = self.path.parent.parent / "splits.csv"
            raise UserError(
                f"resume: {self.path} was made with other images, classes or splits; "
                f"write data.splits={splits} to continue with its own."
            )

    def check_phases(self, phases: Sequence[Phase]) -> None:
        """Raise a UserError where the schedule differs from the checkpoint's, or ends before its epoch.

        The number of epochs may differ from the checkpoint's phase on, as `trainer.max_epochs` changes it.
        Warns where nothing is left to train.
        """
        free = {f"phase {number} epochs" for number in range(self.position.phase + 1, len(phases) + 1)}
        saved, asked = (
            {key: value for key, value in found.items() if key not in free}
            for found in (self.phases, phase_settings(phases))
        )
        refuse_other_settings(self.path, saved, asked)
        end = self.position.phase_began_at + phases[self.position.phase].epochs
        if self.next_epoch > end:
            raise UserError(
                f"resume: {self.path} has finished {self.next_epoch} epochs, and its phase "
                f"({phases[self.position.phase].name}) would now end after {end}; raise trainer.max_epochs."
            )
        is_last = self.position.phase == len(phases) - 1
        if is_last and (self.stopped_early or self.next_epoch == end):
            longer = "" if self.stopped_early else " To train longer, raise trainer.max_epochs."
            log.warning(
                "%s is the end of its run: nothing is trained, the best checkpoint is tested again.%s",
                self.path,
                longer,
            )


def phase_settings(phases: Sequence[Phase]) -> dict[str, Any]:
    """Return the phases as settings: `phase 1 epochs`, `phase 1 trainable`, ..."""
    return {
        f"phase {n} {key}": value for n, phase in enumerate(phases, 1) for key, value in vars(phase).items()
    }


def find_resumption(settings: Mapping[str, Any], trainer: L.Trainer) -> Resumption | None:
    """Return what `resume` names, None where it names nothing.

    In place of a damaged `last.ckpt`, the `best.ckpt` beside it is taken. Raises UserError where there is no
    whole checkpoint, or it was made with other settings.
    """
    if settings["resume"] is None:
        return None
    path = Path(settings["resume"])
    try:
        checkpoint = read_checkpoint(path)
    except UserError as error:
        best = path.with_name("best.ckpt")
        if path.name != "last.ckpt" or not best.is_file():
            raise
        log.warning("%s Continuing from %s instead.", error, best)
        path, checkpoint = best, read_checkpoint(best)
    description = checkpoint[DESCRIPTION]
    saved, asked = dict(description["settings"]), settings_that_matter(settings, trainer)
    if saved["optimizer.lr"] == "auto" != asked["optimizer.lr"]:
        saved["optimizer.lr"] = description["learning_rate"]
    refuse_other_settings(path, saved, asked)
    epochs, asked_epochs = description["max_epochs"], settings["trainer"]["max_epochs"]
    if epochs != asked_epochs:
        log.warning(
            "trainer.max_epochs was %s and is %s now: from here on, the learning rates follow the new "
            "number, so this run differs from one that was never stopped.",
            epochs,
            asked_epochs,
        )
    position = dict(description["position"])
    stopped_early = position.pop("stopped_early")
    log.info("resuming   %s (epoch %d is done)", path, checkpoint["epoch"] + 1)
    return Resumption(
        path,
        Position(**position),
        stopped_early=stopped_early,
        next_epoch=checkpoint["epoch"] + 1,
        phases=description["phases"],
        images=description["images"],
        learning_rate=description["learning_rate"],
    )
