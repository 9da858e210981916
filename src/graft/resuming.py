"""Finds the checkpoint to go on from, and refuses to go on with other settings than it was made with."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from graft.checkpoints import DESCRIPTION, read_checkpoint
from graft.errors import UserError

log = logging.getLogger(__name__)

# A change in one of these makes another run of it. (More epochs, another device or folder do not.)
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
MATTERING_OF_DATA = ("batch_size", "balanced", "image_size", "limit", "val_fraction", "test_fraction")


@dataclass(frozen=True)
class Resumption:
    """A checkpoint to go on from, and where in the schedule it was saved."""

    path: Path
    phase: int  # index into the schedule's phases
    phase_began_at: int  # epoch
    phase_is_over: bool  # whether early stopping has ended it
    next_epoch: int


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
    refuse_other_settings(path, description["settings"], settings_that_matter(config))
    log.info("resuming   %s (epoch %d is done)", path, checkpoint["epoch"] + 1)
    return Resumption(path, **description["position"], next_epoch=checkpoint["epoch"] + 1)


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
    return {**{key: plain[key] for key in MATTERING}, "data": data}


def refuse_other_settings(path: Path, saved: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise a UserError that names the first setting that differs, and both values."""
    for key in (*MATTERING, "data"):
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
