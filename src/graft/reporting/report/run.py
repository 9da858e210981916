"""The report of a run: what was trained and how, and how good it is."""

import shlex
from collections.abc import Mapping
from functools import partial
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
from graft.reporting.report.tested import Parts, outcome_of, parts_of_test


def write_run_report(file: Path, run: FinishedRun, overlays: Overlays) -> list[Advice]:
    """Write the report of a run as one HTML file; return its advice."""
    parts = {
        "title": f"{run.network.partition(' ')[0]} on {run.root.name}",
        "which": "test",
        **data_parts(run.root, run.splits, run.task, run.preprocessing, example_split="train"),
        **parts_of_test(outcome_of(run, overlays)),
        "training": {"rows": training_rows(run), "phases": [phase_row(phase) for phase in run.phases]},
        "curves": curves(run),
        "provenance": {
            "seed": run.settings["seed"],
            "device": run.device,
            "seconds": f"{run.metrics['seconds']:g}",
            "checkpoint": run.checkpoint,
        },
        "command": "" if run.overrides is None else shlex.join(["python", "train.py", *run.overrides]),
        "config": yaml.safe_dump(dict(run.settings), sort_keys=False, allow_unicode=True),
    }
    parts["advice"] = advise(facts(run, parts))
    write_page(file, parts)
    return parts["advice"]


def training_rows(run: FinishedRun) -> dict[str, str]:
    settings, input_size = run.settings, "{}x{} pixels".format(*run.preprocessing.crop)
    channels = run.preprocessing.channels
    rows = {
        "task": run.task.name,
        "network": f"{run.network}, {run.metrics['parameters/total']:,} parameters",
        "weights": run.weights or "random",
        "head": ("one hidden layer" if settings["head"]["hidden"] else "linear") + options(settings["head"]),
        "input": input_size if channels == 3 else f"{input_size}, {channels} channels",
        "freeze": str(settings["freeze"]).lower(),
        "optimizer": described(settings["optimizer"]),
        "learning-rate schedule": described(settings["scheduler"]),
        "augmentation": described(settings["augmentation"]),
        "loss": described(settings["loss"]) + options(settings["regularisation"]),
        "batch": f"{settings['data']['batch_size']} images",
        "epochs": f"{run.metrics['epoch']}, the best ({settings['monitor']}) was {run.metrics['best_epoch']}",
    }
    if "temperature" in run.metrics:
        rows["temperature"] = f"{run.metrics['temperature']:.3g}"
    fitted = {name.partition("/")[2]: x for name, x in run.metrics.items() if name.startswith("threshold/")}
    if fitted:
        rows["thresholds"] = ", ".join(f"{name} {value:.3g}" for name, value in fitted.items())
    return rows


def phase_row(phase: PhaseRecord) -> Parts:
    stages = phase.stages if len(phase.stages) <= 6 else (phase.stages[0], "…", phase.stages[-1])
    rate = phase.backbone_learning_rate
    return {
        "name": phase.name,
        "stages": ", ".join(stages),
        "epochs": f"up to {phase.epochs}" if phase.patience else phase.epochs,
        "head_rate": f"{phase.head_learning_rate:g}",
        "backbone_rate": "\N{EN DASH}" if rate is None else f"{rate:g}",
        "parameters": phase.parameters,
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
    column = 1 + parts["splits"].index("train")
    return Facts(
        accuracy=parts["estimates"].get("accuracy") if run.task.has_classes else None,
        majority=parts["majority"],
        test_images=parts["tested"],
        ece=parts["decision"].get("ece"),
        test_groups=parts["tested_groups"],
        is_calibrated="ece_calibrated" in parts["decision"],
        leaking=len(parts["duplicates"].leaking),
        kind=parts["kind"],
        class_counts=tuple(row[column] for row in parts["counts"]) if parts["classes"] else (),
        is_balanced=settings["loss"].get("class_weights") == "balanced" or settings["data"]["balanced"],
        only_head=all(phase.backbone_learning_rate is None for phase in run.phases),
        train_loss=run.history.get("train/loss", {}).get(best_epoch),
        val_loss=run.history.get("val/loss", {}).get(best_epoch),
        best_epoch=best_epoch,
        epochs=int(run.metrics["epoch"]),
    )


def described(group: Mapping[str, Any]) -> str:
    """Return a group with a `_target_` as its name and options: `AdamW (lr=0.003, ...)`."""
    return str(group["_target_"]).rpartition(".")[2] + options(group)


def options(values: Mapping[str, Any]) -> str:
    """Return ` (key=value, ...)` of what is set, nothing where all is off."""
    shown = [f"{key}={value}" for key, value in values.items() if value and not key.startswith("_")]
    return f" ({', '.join(shown)})" if shown else ""
