"""What a resumed run may change of its settings: a short list. All else has to be as it was."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from graft.errors import UserError

# Settings, and groups of settings, that may differ; a new setting may not until it is listed here.
MAY_DIFFER = (
    "resume",
    "paths",
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
    "trainer.max_epochs",  # with a warning; the phases are compared by `Resumption.refuse_other_phases`
    # Compared by their product, the images of one optimizer step.
    "data.batch_size",
    "trainer.accumulate_grad_batches",
    "trainer.devices",
    "trainer.num_nodes",
)
GLOBAL_BATCH = "data.batch_size x processes x trainer.accumulate_grad_batches"


def settings_that_matter(settings: Mapping[str, Any], trainer: L.Trainer) -> dict[str, Any]:
    """Return the settings that a resumed run has to share, `auto` as the Trainer resolved it."""
    folders = sorted(filter(None, settings["paths"].values()), key=len, reverse=True)
    kept: dict[str, Any] = without_folders(dict(settings), folders)
    data, options = kept["data"], kept["trainer"]
    kept[GLOBAL_BATCH] = data["batch_size"] * trainer.world_size * options["accumulate_grad_batches"]
    options["precision"] = str(trainer.precision)
    if data.get("cache") in ("ram", "disk"):
        data["cache"] = (
            "ram or disk"  # Random crops come out of decoded images; where those are does not matter.
        )
    for key in MAY_DIFFER:
        *groups, name = key.split(".")
        holder: Any = kept
        for group in groups:
            holder = holder.get(group) or {}
        holder.pop(name, None)
    return kept


def without_folders(value: Any, folders: Sequence[str]) -> Any:
    """Return a deep copy whose texts lack the folders: a run in another one has the same settings."""
    if isinstance(value, dict):
        return {key: without_folders(entry, folders) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_folders(entry, folders) for entry in value]
    for folder in folders if isinstance(value, str) else ():
        value = value.replace(folder, "")
    return value


def refuse_other_settings(path: Path, saved: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise one UserError that names every setting that differs, with both values."""
    changed = {name: (was, now) for name, was, now in differences(saved, asked)}
    own = {name: pair for name, pair in changed.items() if not repeats(name, pair, changed)}
    if not own:
        return
    values = "; ".join(
        f"{name}={written(was)}, this run has {name}={written(now)}" for name, (was, now) in own.items()
    )
    raise UserError(
        f"resume: {path} was made with {values}. Write what it was made with to continue, or leave "
        "resume out for a new run."
    )


def repeats(name: str, pair: tuple[Any, Any], changed: Mapping[str, tuple[Any, Any]]) -> bool:
    """Return whether a difference only repeats another, as `data.seed` repeats `seed`."""
    keys = name.split(".")
    return any(changed.get(".".join(keys[start:])) == pair for start in range(1, len(keys)))


def differences(saved: Any, asked: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted name and both values of every entry that differs in type or value.

    An entry that is not there is null.
    """
    if isinstance(saved, dict) and isinstance(asked, dict):
        for key in dict.fromkeys([*saved, *asked]):
            yield from differences(saved.get(key), asked.get(key), f"{name}.{key}" if name else str(key))
    elif not is_same(saved, asked):
        yield name, saved, asked


def is_same(a: Any, b: Any) -> bool:
    """Return whether two plain values are equal in type as well: 1 is neither true nor 1.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(is_same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    return bool(a == b)


def written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{written(entry)}" for key, entry in value.items()) + "}"
    return str(value)
