"""Finds the checkpoint to go on from, and refuses to go on with other settings than it was made with."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from graft.errors import UserError
from graft.models.checkpoints import DESCRIPTION, read_checkpoint
from graft.models.freezing import Phase

log = logging.getLogger(__name__)

# What may differ from the run that is resumed: it changes where, how fast and with how many words a run goes
# on, not what it computes. Every other setting, also one that is added later, has to be the same.
MAY_DIFFER = (
    "cache",
    "calibrate",
    "callbacks.checkpoint",
    "callbacks.lr_monitor",
    "callbacks.progress",
    "compile",
    "data.cache_dir",
    "data.num_workers",
    "data.on_error",
    "data.root",  # The images are compared themselves: `refuse_other_images`.
    "data.splits",
    "features.dir",
    "learning_rate",  # It ends up in optimizer.lr.
    "logger",
    "paths",
    "report",
    "resume",
    "trainer.accelerator",
    "trainer.benchmark",
    "trainer.detect_anomaly",
    "trainer.deterministic",
    "trainer.devices",  # The number of processes is compared itself: `refuse_other_processes`.
    "trainer.inference_mode",
    "trainer.log_every_n_steps",
    "trainer.max_epochs",  # with a warning
    "trainer.max_time",
    "trainer.num_nodes",
    "trainer.num_sanity_val_steps",
    "trainer.profiler",
    "trainer.strategy",
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
    processes: int
    learns: tuple[str, ...]  # what was trainable in the phase
    learning_rate: float  # of the head; with learning_rate=auto, the one that was found

    def refuse_other_images(self, digest: str) -> None:
        """Raise a UserError where the run's pictures, classes or splits are not the checkpoint's.

        A picture that was trained on could otherwise be validated or tested on.
        """
        if digest != self.pictures:
            splits = self.path.parent.parent / "splits.csv"
            raise UserError(
                f"resume: {self.path} was made with other images, classes or splits; "
                f"write data.splits={splits} to go on with its own."
            )

    def refuse_other_processes(self, processes: int) -> None:
        """Raise a UserError where another number of processes would make other batches."""
        if processes != self.processes:
            raise UserError(
                f"resume: {self.path} was made with {self.processes} process(es), this run has {processes}: "
                "the batches would be others. Write trainer.devices and trainer.num_nodes as they were."
            )

    def refuse_other_phases(self, phases: Sequence[Phase]) -> None:
        """Raise a UserError where the schedule does not hold the phase that the checkpoint stands in."""
        if self.phase >= len(phases) or phases[self.phase].learns != self.learns:
            raise UserError(
                f"resume: {self.path} stands in phase {self.phase + 1} (trainable: "
                f"{', '.join(self.learns[:3])}{', ...' if len(self.learns) > 3 else ''}), and this run's "
                f"{len(phases)} phase(s) have no such phase: write freeze and finetuning as they were."
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
    position = dict(description["position"])
    return Resumption(
        path,
        learns=tuple(position.pop("learns")),
        **position,
        processes=description["processes"],
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
    """Return all settings but those of `MAY_DIFFER`, as plain containers, and `max_epochs` beside them."""
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    epochs = plain["trainer"]["max_epochs"]
    # Random crops come out of kept images; where those are kept changes nothing.
    if "cache" in plain["data"]:
        plain["data"]["cache"] = "none" if plain["data"]["cache"] in (None, "none") else "ram or disk"
    for key in MAY_DIFFER:
        *parents, name = key.split(".")
        node: Any = plain
        for parent in parents:
            node = node.get(parent) or {}
        node.pop(name, None)
    return {**plain, "max_epochs": epochs}


def refuse_other_settings(path: Path, saved: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise a UserError that names every setting that differs, with both values."""
    found = differences("", {**saved, "max_epochs": None}, {**asked, "max_epochs": None})
    if found:
        listed = "; ".join(f"{name}={shown(was)}, now {shown(now)}" for name, was, now in found)
        raise UserError(
            f"resume: {path} was made with {listed}. Leave them as they were to go on, or begin a new run "
            "without resume."
        )


def differences(name: str, saved: Any, asked: Any) -> list[tuple[str, Any, Any]]:
    """Return the dotted names of all differing entries with both values."""
    if isinstance(saved, dict) and isinstance(asked, dict):
        prefix = f"{name}." if name else ""
        keys = sorted({*saved, *asked})
        return [
            found for key in keys for found in differences(f"{prefix}{key}", saved.get(key), asked.get(key))
        ]
    # True == 1 in Python, but freeze=true and freeze=1 are two schedules.
    is_same = saved == asked and isinstance(saved, bool) == isinstance(asked, bool)
    return [] if is_same else [(name, saved, asked)]


def shown(value: Any) -> str:
    """Return a value as it is typed."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
