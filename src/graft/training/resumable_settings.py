"""What a resumed run may change of its settings: a short list. All else has to be as it was."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from graft.errors import UserError

# Settings, and groups of settings, that may differ; a new setting may not until it is listed here.
MAY_DIFFER = (
    "resume",
    "paths",  # and with it every setting that is made of it, such as the callbacks' folders
    "learning_rate",  # compared by what it sets, optimizer.lr
    "compile",
    "calibrate",
    "report",
    "logger",
    "callbacks.checkpoint.dirpath",
    "callbacks.checkpoint.keeps_validation",
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


def settings_that_matter(config: DictConfig, processes: int, precision: str) -> dict[str, Any]:
    """Return the settings that a resumed run has to share, as plain containers.

    `processes` and `precision` are the Trainer's: what `auto` means depends on the machine.
    """
    config = config.copy()
    config.paths = dict.fromkeys(config.paths, "")
    settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    data, trainer = settings["data"], settings["trainer"]
    settings[GLOBAL_BATCH] = data["batch_size"] * processes * trainer["accumulate_grad_batches"]
    trainer["precision"] = precision
    if data.get("cache") in ("ram", "disk"):
        data["cache"] = (
            "ram or disk"  # Random crops come out of kept images; where those are changes nothing.
        )
    for key in MAY_DIFFER:
        *groups, name = key.split(".")
        holder: Any = settings
        for group in groups:
            holder = holder.get(group) or {}
        holder.pop(name, None)
    return settings


def refuse_other_settings(
    path: Path, saved: dict[str, Any], asked: dict[str, Any], config: DictConfig
) -> None:
    """Raise one UserError that names every setting that differs, with both values.

    `config` are the settings that `asked` was made from.
    """
    found = {name: (was, now) for name, was, now in differences(saved, asked)}
    own = {name: pair for name, pair in found.items() if found.get(repeats(config, name) or "") != pair}
    if not own:
        return
    values = "; ".join(
        f"{name}={written(was)}, this run has {name}={written(now)}" for name, (was, now) in own.items()
    )
    raise UserError(
        f"resume: {path} was made with {values}. Write what it was made with to go on, or leave resume out "
        "for a new run."
    )


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


def repeats(config: DictConfig, name: str) -> str | None:
    """Return the setting that `name` is an interpolation of (`data.seed` of `seed`), or None."""
    keys = name.split(".")
    node: Any = OmegaConf.to_container(config, resolve=False)
    for number, key in enumerate(keys):
        node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, str) and node.startswith("${") and node.endswith("}"):
            return ".".join([node[2:-1], *keys[number + 1 :]])
    return None


def written(value: Any) -> str:
    """Return a value as it is written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{written(entry)}" for key, entry in value.items()) + "}"
    return str(value)
