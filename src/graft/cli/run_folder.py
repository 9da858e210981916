"""The folder of a run: one of its own where none is named, and never that of a finished run by accident."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from graft.errors import UserError


def folder_maker() -> Callable[[str], str]:
    """Return the resolver `new_folder` of one command: it makes a folder once, however often it is asked."""
    made: dict[str, str] = {}

    def new_folder(path: str) -> str:
        if path not in made:
            made[path] = make_folder(path)
        return made[path]

    return new_folder


def make_folder(path: str) -> str:
    """Make the folder, or the first of PATH-2, PATH-3, ... that no other run has, and return its path."""
    for number in itertools.count(1):
        folder = Path(path if number == 1 else f"{path}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return str(folder)
    raise AssertionError("count() does not end")


def refuse_finished_run(named: Sequence[tuple[str, Path]]) -> None:
    """Raise a UserError where a folder that the user named, by this key, holds the files of a run."""
    for key, folder in named:
        if holds_run(folder) or any(holds_run(job) for job in folder.glob("*/") if key == "hydra.sweep.dir"):
            raise UserError(
                f"{key}={folder} holds a run already: write resume=last to go on with it, "
                "or name another folder."
            )


def holds_run(folder: Path) -> bool:
    """Return whether a run has left a checkpoint or its metrics in the folder."""
    return (folder / "metrics.json").exists() or any((folder / "checkpoints").glob("*.ckpt"))
