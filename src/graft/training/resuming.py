"""Finds the checkpoint to go on from, and refuses to go on with other settings than it was made with."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from graft.errors import UserError
from graft.models.checkpoints import DESCRIPTION, read_checkpoint

log = logging.getLogger(__name__)

# A change in one of these makes another run of it. (Another device or folder does not.)
MATTERING = (
    "freeze",
    "seed",
    "monitor",
    "model",
    "head",
    "loss",
    "finetuning",
    "optimizer",
    "scheduler",
    "augmentation",
)
# The folder may have moved, and workers change nothing.
MATTERING_OF_TRAINER = (
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "max_steps",
    "precision",
)
MATTERING_OF_FEATURES = ("cache", "views", "dtype")
MATTERING_OF_DATA = (
    "batch_size",
    "balanced",
    "cache",
    "image_size",
    "limit",
    "val_fraction",
    "test_fraction",
)


@dataclass(frozen=True)
class Resumption:
    """A checkpoint to go on from, and where in the schedule it was saved."""

    path: Path
    phase: int  # index into the schedule's phases
    phase_began_at: int  # epoch
    phase_began_at_step: int
    phase_is_over: bool  # whether early stopping has ended it
    next_epoch: int
    pictures: str  # see `ImageFolderDataModule.digest`
    learning_rate: float  # of the head; with learning_rate=auto, the one that was found

    def refuse_other_pictures(self, digest: str) -> None:
        """Raise a UserError where the run's pictures, classes or splits are not the checkpoint's.

        A picture that was trained on could otherwise be validated or tested on.
        """
        if digest != self.pictures:
            splits = self.path.parent.parent / "splits.csv"
            raise UserError(
                f"resume: {self.path} was made with other pictures, classes or splits; "
                f"write data.splits={splits} to go on with its own."
            )


def find_resumption(config: DictConfig) -> Resumption | None:
    """Return what `resume` names: nothing, a path, or the newest run's last checkpoint.

    Raises UserError where it is not there, damaged, or was made with other settings.
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
    saved, asked = description["settings"], settings_that_matter(config)
    learning_rate = saved["optimizer"]["lr"]
    if config.learning_rate == "auto":
        asked["optimizer"]["lr"] = learning_rate  # It was found when the run began.
    refuse_other_settings(path, saved, asked)
    epochs = saved["max_epochs"]
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
        pictures=description["pictures"],
        learning_rate=learning_rate,
    )


def newest_checkpoint(config: DictConfig) -> Path:
    """Return the `last.ckpt` that was written last below the folder of all runs."""
    runs = Path(config.paths.logs) / "train" / "runs"
    own = Path(config.paths.run) / "checkpoints" / "last.ckpt"
    if own.is_file():
        return own
    found = sorted(runs.glob("*/checkpoints/last.ckpt"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise UserError(f"resume=last: no run in {runs} has a checkpoint; write resume=PATH.")
    return found[-1]


def settings_that_matter(config: DictConfig) -> dict[str, Any]:
    """Return the settings that a resumed run has to share, as plain containers."""
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    data = {key: plain["data"].get(key) for key in MATTERING_OF_DATA}
    # Random crops come out of kept pictures; where those are kept changes nothing.
    data["cache"] = "none" if data["cache"] in (None, "none") else "ram or disk"
    trainer = {key: plain["trainer"].get(key) for key in MATTERING_OF_TRAINER}
    features = {key: plain["features"].get(key) for key in MATTERING_OF_FEATURES}
    settings = {key: plain[key] for key in MATTERING}
    settings |= {"data": data, "features": features, "trainer": trainer}
    return {**settings, "max_epochs": plain["trainer"]["max_epochs"]}


def refuse_other_settings(path: Path, saved: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise a UserError that names the first setting that differs, and both values."""
    for key in (*MATTERING, "data", "features", "trainer"):
        difference = first_difference(key, saved[key], asked[key])
        if difference:
            name, was, now = difference
            raise UserError(
                f"resume: {path} was made with {name}={was}, this run has {name}={now}; "
                f"write {name}={was} to go on."
            )


def first_difference(name: str, saved: Any, asked: Any) -> tuple[str, Any, Any] | None:
    """Return the dotted name of the first differing entry with both values, or None."""
    if isinstance(saved, dict) and isinstance(asked, dict):
        for key in sorted({*saved, *asked}):
            found = first_difference(f"{name}.{key}", saved.get(key), asked.get(key))
            if found:
                return found
        return None
    return None if saved == asked else (name, saved, asked)
