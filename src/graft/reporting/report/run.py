"""The report of a run: what was trained and how, and how good it is."""

import shlex
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from graft.finished_run import FinishedRun, PhaseRecord
from graft.inference.explanation import Overlays
from graft.reporting.figures.plots import curve_figure
from graft.reporting.report.advice import Advice, Facts, advise
from graft.reporting.report.charts import inline_svg
from graft.reporting.report.data import data_parts
from graft.reporting.report.page import metric_name, write_page
from graft.reporting.report.statistics import balanced_outlook
from graft.reporting.report.tested import Parts, outcome_of, parts_of_test
from graft.reporting.settings import bands_of


def write_run_report(file: Path, run: FinishedRun, overlays: Overlays) -> list[Advice]:
    """Write the report of a run as one HTML file; return its advice."""
    bands = bands_of(run.settings)
    parts = {
        "title": f"{run.network.partition(' ')[0]} on {run.root.name}",
        "which": "test",
        "limit": run.settings["data"]["limit"],
        "trained_on": 0,
        **data_parts(run.root, run.splits, run.task, run.preprocessing, "train", bands),
        **parts_of_test(outcome_of(run, overlays)),
        "training": {"rows": training_rows(run), "phases": [*starmap(phase_row, enumerate(run.phases, 1))]},
        "curves": curves(run),
        "provenance": {
            "seed": run.settings["seed"],
            "device": run.device,
            "duration": f"{timedelta(seconds=round(run.metrics['seconds']))} (hours:minutes:seconds)",
            "checkpoint": run.checkpoint,
        },
        "command": "" if run.overrides is None else shlex.join(["python", "train.py", *run.overrides]),
        "config": yaml.safe_dump(dict(run.settings), sort_keys=False, allow_unicode=True),
    }
    parts["advice"] = advise(facts(run, parts))
    write_page(file, parts)
    return parts["advice"]


def training_rows(run: FinishedRun) -> dict[str, str]:
    settings, best = run.settings, run.metrics["best_epoch"]
    input_size = "{}x{} pixels".format(*run.preprocessing.crop)
    channels = run.preprocessing.channels
    # Its L2 strength is that of a solved head.
    head = {
        key: value for key, value in settings["head"].items() if key != "l2" or settings["head"]["solver"]
    }
    rows = {
        "task": run.task.name,
        "network": f"{run.network}, {run.metrics['parameters/total']:,} parameters",
        "weights": run.weights or "random",
        "head": ("one hidden layer" if head["hidden"] else "linear") + options(head),
        "input": input_size if channels == 3 else f"{input_size}, {channels} channels",
        "freeze": str(settings["freeze"]).lower(),
        "optimizer": described({k: v for k, v in settings["optimizer"].items() if k != "lr"}),
        "learning rate": learning_rate(run),
        "learning-rate schedule": described(settings["scheduler"]),
        "augmentation": "none (features.views)" if run.views == 1 else described(settings["augmentation"]),
        "loss": described(settings["loss"]) + options(settings["regularisation"]),
        "batch": f"{settings['data']['batch_size']} images",
        "epochs": f"{run.metrics['epoch']}; epoch {best} was the best by {settings['monitor']}",
    }
    if "temperature" in run.metrics:
        rows["temperature"] = f"{run.metrics['temperature']:.3g}"
    fitted = {name.partition("/")[2]: x for name, x in run.metrics.items() if name.startswith("threshold/")}
    if fitted:
        rows["thresholds"] = ", ".join(f"{name} {value:.3g}" for name, value in fitted.items())
    return rows


def learning_rate(run: FinishedRun) -> str:
    """Return the head's learning rate of the first phase that trains by steps, and how it was found."""
    rates = [phase.head_learning_rate for phase in run.phases if phase.head_learning_rate]
    if not rates:
        return "none: the head is solved (L-BFGS)"
    rate = f"{rates[0]:.3g}"
    return f"{rate}, found by a range test" if run.settings["learning_rate"] == "auto" else rate


def phase_row(number: int, phase: PhaseRecord) -> Parts:
    stages = phase.stages if len(phase.stages) <= 6 else (phase.stages[0], "…", phase.stages[-1])
    rate = phase.backbone_learning_rate
    return {
        "phase": f"{number} {phase.name}",
        "trainable": ", ".join(stages),
        "epochs": f"up to {phase.epochs}" if phase.patience else phase.epochs,
        "head learning rate": f"{phase.head_learning_rate:.3g}",
        "backbone learning rate": "\N{EN DASH}" if rate is None else f"{rate:.3g}",
        "parameters": f"{phase.parameters:,}",
    }


def curves(run: FinishedRun) -> list[Markup]:
    drawn, best = [], int(run.metrics["best_epoch"])
    for metric in ("loss", *run.task.curves):
        name = metric_name(metric)
        training, validation = (run.history.get(f"{split}/{metric}", {}) for split in ("train", "val"))
        if training or validation:
            draw = partial(curve_figure, name, training, validation, best if best in validation else None)
            drawn.append(inline_svg(draw, f"{name} by epoch"))
    return drawn


def facts(run: FinishedRun, parts: Parts) -> Facts:
    settings, best_epoch = run.settings, int(run.metrics["best_epoch"])
    column, worst, if_balanced = 1 + parts["splits"].index("train"), parts["worst"], None
    counts = tuple(row[column] for row in parts["counts"]) if parts["classes"] else ()
    if run.task.has_classes:
        number = run.task.columns.index(worst.name)
        if_balanced = balanced_outlook(run.logits, run.targets, counts, number)
    return Facts(
        accuracy=parts["estimates"].get("accuracy") if run.task.has_classes else None,
        majority=parts["majority"],
        test_images=parts["tested"],
        ece=parts["decision"].get("ece"),
        test_groups=parts["tested_groups"],
        is_calibrated=settings["calibrate"],
        leaking=len(parts["duplicates"].leaking),
        kind=parts["kind"],
        train_images=len(run.splits["train"]),
        class_counts=counts,
        worst=worst,
        if_balanced=if_balanced,
        is_balanced=settings["loss"].get("class_weights") == "balanced" or settings["data"]["balanced"],
        heeds_freeze=is_standard(settings),
        only_head=not settings.get("recipe") and all(p.backbone_learning_rate is None for p in run.phases),
        train_loss=run.history.get("train/loss", {}).get(best_epoch),
        val_loss=run.history.get("val/loss", {}).get(best_epoch),
        best_epoch=best_epoch,
        epochs=int(run.metrics["epoch"]),
        can_train_longer=can_train_longer(run),
        takes_class_weights="class_weights" in settings["loss"],
        can_be_solved=can_be_solved(settings),
        group_setting="data.group_column" if "file" in settings["data"] else "data.keep_together",
    )


def is_standard(settings: Mapping[str, Any]) -> bool:
    """Return whether the schedule is the one that `freeze` describes."""
    return bool(settings["finetuning"]["schedule"]["_target_"].endswith(".standard"))


def can_train_longer(run: FinishedRun) -> bool:
    """Return whether more epochs of gradient descent are what `trainer.max_epochs` would give."""
    trainer = run.settings["trainer"]
    ends_before = trainer["max_steps"] > 0 or trainer.get("max_time") is not None
    return bool(run.phases[-1].head_learning_rate) and not run.settings.get("recipe") and not ends_before


def can_be_solved(settings: Mapping[str, Any]) -> bool:
    """Return whether head.solver=lbfgs and recipe=auto, added to these settings, would fit a linear head."""
    head, regularisation = settings["head"], settings["regularisation"]
    is_linear = head["hidden"] is None and not head["dropout"]
    minimises = settings["loss"]["_target_"] == "torch.nn.CrossEntropyLoss"
    if head.get("solver", "") is not None or not (is_linear and minimises):
        return False
    mixes = regularisation["mixup"] or regularisation["cutmix"]
    is_plain = is_standard(settings) and not mixes and not settings["callbacks"].get("ema")
    return is_plain and settings["features"]["cache"] is not False and settings["learning_rate"] != "auto"


def described(group: Mapping[str, Any]) -> str:
    """Return a group with a `_target_` as its name and options: `AdamW (weight decay 0.01, ...)`."""
    return str(group["_target_"]).rpartition(".")[2] + options(group)


def options(values: Mapping[str, Any]) -> str:
    """Return ` (key value, ...)` of what is set, nothing where all is off."""
    set_ones = {key.replace("_", " "): value for key, value in values.items() if value and key[0] != "_"}
    shown = [f"{key} {in_words(value)}".rstrip() for key, value in set_ones.items()]
    return f" ({', '.join(shown)})" if shown else ""


def in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return described(value) if "_target_" in value else ", ".join(map(in_words, value.values()))
    if isinstance(value, list | tuple):
        return " and ".join(map(in_words, value))
    return "" if value is True else f"{value:g}" if isinstance(value, float) else str(value)
