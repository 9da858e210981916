"""What a resumed run may change of its settings: a short list. All else has to be as it was."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from graft.errors import UserError

# Settings, and groups of settings, that may differ; a new setting may not until it is listed here.
MAY_DIFFER = (
    "resume",
    "paths",
    "time_budget",  # room: recipes
    "learning_rate",  # compared by what it sets, optimizer.lr
    "compile",
    "calibrate",
    "report",
    "logger",
    "callbacks.checkpoint.dirpath",
    "callbacks.tensorboard_images",  # room: reporting
    "task.monitor",
    "callbacks.lr_monitor",
    "callbacks.progress",
    "data.root",  # The images, classes and splits are compared by `Resumption.refuse_other_images`.
    "data.file",
    "data.splits",
    "data.on_error",
    "data.num_workers",
    "cache",
    "data.cache_dir",
    "data.cache_limit_gb",
    "trainer.accelerator",
    "trainer.strategy",
    "trainer.limit_test_batches",
    "trainer.log_every_n_steps",
    "trainer.num_sanity_val_steps",
    "trainer.benchmark",
    "trainer.detect_anomaly",
    "trainer.deterministic",
    "trainer.profiler",
    "trainer.max_time",
    "trainer.max_epochs",  # with a warning; the phases are compared by `Resumption.check_phases`
    # Compared by their product, the images of one optimizer step.
    "data.batch_size",
    "trainer.accumulate_grad_batches",
    "trainer.devices",
    "trainer.num_nodes",
)
GLOBAL_BATCH = "data.batch_size x processes x trainer.accumulate_grad_batches"


def settings_that_matter(settings: Mapping[str, Any], trainer: L.Trainer) -> dict[str, Any]:
    """Return the settings that a resumed run has to share, by dotted name, as the Trainer resolved them."""
    folders = sorted(filter(None, settings["paths"].values()), key=len, reverse=True)
    free = tuple(f"{name}." for name in MAY_DIFFER)
    kept = {
        name: without_folders(value, folders)
        for name, value in leaves(settings)
        if not f"{name}.".startswith(free)
    }
    images, batches = settings["data"]["batch_size"], settings["trainer"]["accumulate_grad_batches"]
    kept[GLOBAL_BATCH] = images * trainer.world_size * batches
    kept["trainer.precision"] = str(trainer.precision)
    if settings["learning_rate"] == "auto":
        kept["optimizer.lr"] = "auto"
    if kept.get("data.cache") in ("ram", "disk"):
        kept["data.cache"] = "ram or disk"  # Both hold the images that random crops come out of.
    return kept


def leaves(node: Mapping[str, Any], parents: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{parents}{key}.")
        else:
            yield f"{parents}{key}", value


def without_folders(value: Any, folders: Sequence[str]) -> Any:
    """Return a value whose texts lack the folders: a run in another one has the same settings."""
    if isinstance(value, list):
        return [without_folders(entry, folders) for entry in value]
    for folder in folders if isinstance(value, str) else ():
        value = value.replace(folder, "")
    return value


def refuse_other_settings(path: Path, saved: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise one UserError that names every setting that differs in type or value, with both values.

    A setting that is not there is null.
    """
    changed = {}
    for name in dict.fromkeys([*saved, *asked]):
        was, now = saved.get(name), asked.get(name)
        if json_of(was) != json_of(now):
            changed[name] = (was, now)
    own = {name: pair for name, pair in changed.items() if not repeats(name, pair, changed)}
    if not own:
        return
    values = "; ".join(
        f"{name}={written(was)}, this run has {name}={written(now)}" for name, (was, now) in own.items()
    )
    raise UserError(
        f"resume: {path} was made with {values}. To continue it, write the values that it was made with; "
        "for a new run, leave resume out."
    )


def json_of(value: Any) -> str:
    """Return a text that differs for values of different types: 1 is neither true nor 1.0."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def written(value: Any) -> str:
    """Return a value as a person types it."""
    return json_of(value).replace('"', "")


def repeats(name: str, pair: tuple[Any, Any], changed: Mapping[str, tuple[Any, Any]]) -> bool:
    """Return whether a difference only repeats another, as `data.seed` repeats `seed`."""
    keys = name.split(".")
    return any(changed.get(".".join(keys[start:])) == pair for start in range(1, len(keys)))
