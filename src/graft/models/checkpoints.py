"""Checkpoint files: written whole or not at all, and enough by themselves to rebuild the classifier."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from graft.errors import UserError, reason
from graft.files import replacing
from graft.models.backbones import Backbone, build_head, rebuild_backbone
from graft.models.backbones.weights_file import read_content
from graft.models.classifier import Classifier
from graft.preprocessing import Preprocessing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What Graft adds to a Lightning checkpoint lies under this key.
DESCRIPTION = "graft"
WEIGHTS_PREFIX = "classifier."


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint as `save_atomically` does.

    Lightning's own goes through the system's temporary folder and copies where that is another
    file system, which can leave an empty `last.ckpt` (Lightning-AI/pytorch-lightning#21253).
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        del storage_options
        save_atomically(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        del map_location, weights_only
        return read_checkpoint(Path(path))


def save_atomically(content: dict[str, Any], target: Path) -> None:
    """Write what `torch.save` takes beside the file, flush it to disk and rename it.

    Raises UserError where it cannot be written, such as on a full disk; what was there stays.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target, flush=True) as file:
            lock(file)
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        # torch's own writer raises RuntimeError on a full disk.
        why = getattr(error, "strerror", None) or reason(error)
        raise UserError(
            f"{target} cannot be written ({why}): make room there, or choose another folder with "
            "hydra.run.dir=DIR. What was saved before is whole."
        ) from error
    if os.name == "posix":  # The rename survives a power cut; Windows cannot flush a folder.
        descriptor = os.open(target.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def lock(file: IO[bytes]) -> None:
    """Show that the writer of a temporary file is alive, until it closes the file or is killed."""
    if fcntl is not None:
        with suppress(OSError):  # Some network file systems have no locks.
            fcntl.flock(file, fcntl.LOCK_EX)


def remove_abandoned_checkpoints(folder: Path) -> None:
    """Remove the temporary files that killed writers have left in `folder`, but none of a live writer."""
    for path in sorted(folder.glob(".*.ckpt.*")):
        with suppress(OSError):  # A live writer holds the lock, on Windows the open file itself.
            if fcntl is None:
                path.unlink()
                continue
            with path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint's contents on the CPU, without running code from the file.

    Raises UserError where there is no file, it is damaged, or it is not one of Graft's.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}.")
    try:
        checkpoint = read_content(path)
    except ValueError as error:
        raise UserError(f"{path} is damaged or no checkpoint ({error}).") from error
    if not isinstance(checkpoint, dict) or DESCRIPTION not in checkpoint:
        raise UserError(
            f"{path} is no checkpoint of Graft's; a file of plain weights goes to model.weights=PATH."
        )
    return checkpoint


def describe(
    backbone: Backbone, head: dict[str, Any], task: dict[str, Any], preprocessing: Preprocessing
) -> dict[str, Any]:
    """Return what rebuilds the classifier, as plain containers; `task` is what `Task.describe` returns."""
    return {"model": backbone.spec(), "head": head, "task": task, "preprocessing": preprocessing.to_dict()}


@dataclass(frozen=True)
class LoadedClassifier:
    """A trained classifier in evaluation mode, with what is needed to use it."""

    classifier: Classifier
    task: dict[str, Any]  # for `graft.tasks.task.task_from`
    preprocessing: Preprocessing


def load_classifier(path: Path, allow: Sequence[str] = ()) -> LoadedClassifier:
    """Rebuild a trained classifier from its checkpoint alone: no training data, no internet.

    `allow` names packages that the checkpoint may import besides Graft's own. Raises UserError where the file
    is missing, damaged or not a checkpoint, or needs a package that is not allowed.
    """
    checkpoint = read_checkpoint(path)
    description = checkpoint[DESCRIPTION]
    backbone = rebuild_backbone(**description["model"], allow=allow)
    head = build_head(backbone, len(description["task"]["columns"]), **description["head"])
    classifier = Classifier(backbone, head)
    weights = {
        key.removeprefix(WEIGHTS_PREFIX): value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith(WEIGHTS_PREFIX)
    }
    classifier.load_state_dict(weights)
    preprocessing = Preprocessing.from_dict(description["preprocessing"])
    return LoadedClassifier(classifier.eval(), description["task"], preprocessing)


def replace_task(path: Path, task: dict[str, Any]) -> None:
    """Write another description of the task into a checkpoint, in one step; predictions then use it."""
    checkpoint = read_checkpoint(path)
    if checkpoint[DESCRIPTION]["task"] != task:
        checkpoint[DESCRIPTION]["task"] = task
        save_atomically(checkpoint, path)
