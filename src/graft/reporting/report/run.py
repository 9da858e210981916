"""The report of a run: what was trained and how, and how good it is."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from markupsafe import Markup
from omegaconf import OmegaConf

from graft.models.freezing import HEAD, apply_phase
from graft.reporting.figures.curves import curve_figure
from graft.reporting.report.advice import Facts, advise
from graft.reporting.report.charts import inline_svg
from graft.reporting.report.data import data_parts
from graft.reporting.report.history import History, read_history
from graft.reporting.report.origin import now, versions
from graft.reporting.report.page import Parts, Scored, parts_of_test, write_page
from graft.reporting.results import FinishedRun
from graft.training.summary import count, machine_summary


def write_run_report(file: Path, run: FinishedRun) -> None:
    """Write the report of a run as one HTML file."""
    data, metrics = run.data, run.metrics
    history = read_history(run.trainer.loggers)
    tested = Scored(
        root=data.root,
        samples=run.tested,
        class_names=data.class_names,
        probabilities=run.predictions.probabilities.float().numpy(),
        labels=run.predictions.labels.numpy(),
        overlays=run.overlays,
        temperature=metrics.get("temperature"),
        seed=run.config.seed,
    )
    parts = {
        "title": f"{run.module.classifier.backbone.name} on {data.root.name}",
        "date": now(),
        "which": "test",
        **data_parts(data.root, data.samples, data.class_names, example_split="train"),
        **parts_of_test(tested),
        "training": training_parts(run),
        "curves": curves(history, int(metrics["best_epoch"])),
        "first_epoch": min((epoch for values in history.values() for epoch in values), default=1),
        "provenance": {
            "seed": run.config.seed,
            "device": " ".join(machine_summary(run.trainer).split()[1:]),
            "seconds": f"{metrics['seconds']:g}",
            "checkpoint": run.checkpoint,
            **versions(),
        },
        "command": command(),
        "config": OmegaConf.to_yaml(run.config, resolve=True),
    }
    parts["advice"] = advise(facts(run, parts, history))
    write_page(file, parts)


def training_parts(run: FinishedRun) -> Parts:
    """Return what was trained and how, as rows, and the phases."""
    config, backbone, data = run.config, run.module.classifier.backbone, run.data
    assert data.preprocessing is not None
    loss = {key: value for key, value in plain(config.loss).items() if value}
    head = {key: value for key, value in plain(config.head).items() if value}
    return {
        "rows": {
            "network": f"{backbone.name} ({backbone.source}), {run.metrics['parameters/total']:,} parameters",
            "weights": backbone.weights or "random",
            "head": ("one hidden layer" if config.head.hidden else "linear") + settings(head),
            "input": "{}x{} pixels".format(*data.preprocessing.crop),
            "freeze": str(config.freeze).lower(),
            "optimizer": described(plain(config.optimizer)),
            "schedule of the rate": described(plain(config.scheduler)),
            "augmentation": described(plain(config.augmentation)),
            "loss": f"cross-entropy{settings(loss)}",
            "batch": f"{data.batch_size} images",
            "epochs": f"{run.metrics['epoch']}, the best ({config.monitor}) was {run.metrics['best_epoch']}",
        },
        "phases": phase_rows(run),
    }


def phase_rows(run: FinishedRun) -> list[Parts]:
    """Return what learned in each phase, how long and how fast."""
    module = run.module
    rate, head_multiplier, _ = module.rates
    rows = []
    for phase in run.phases:
        apply_phase(module.classifier, phase, module.norm)  # The state depends on the phase alone.
        stages = phase.learns if len(phase.learns) <= 6 else (phase.learns[0], "…", phase.learns[-1])
        only_head = phase.learns == (HEAD,)
        rows.append(
            {
                "name": phase.name,
                "stages": ", ".join(stages),
                "epochs": f"up to {phase.epochs}" if phase.patience else phase.epochs,
                "head_rate": f"{rate * phase.rate:g}",
                "backbone_rate": "\N{EN DASH}" if only_head else f"{rate * phase.rate / head_multiplier:g}",
                "parameters": count(p for p in module.classifier.parameters() if p.requires_grad),
            }
        )
    return rows


def curves(history: History, best_epoch: int) -> list[Markup]:
    """Return the curves of loss and accuracy as SVG; none where nothing was logged as CSV."""
    found = []
    for name in ("loss", "accuracy"):
        training, validation = history.get(f"train/{name}", {}), history.get(f"val/{name}", {})
        marked = best_epoch if best_epoch in validation else None  # A resumed run may have had it before.
        if training or validation:
            found.append(
                inline_svg(
                    lambda n=name, t=training, v=validation, m=marked: curve_figure(n, t, v, m),  # type: ignore[misc]
                    f"{name.capitalize()} by epoch",
                )
            )
    return found


def facts(run: FinishedRun, parts: Parts, history: History) -> Facts:
    """Return what the rules of `graft.reporting.report.advice` look at."""
    config, best_epoch = run.config, int(run.metrics["best_epoch"])
    return Facts(
        accuracy=parts["estimates"]["accuracy"],
        majority=parts["majority"],
        test_images=parts["tested"],
        ece=parts["ece"],
        test_groups=parts["tested_groups"],
        is_calibrated=parts["temperature"] is not None,
        leaking=len(parts["duplicates"].leaking),
        class_counts=tuple(run.data.class_counts("train")),
        is_balanced=config.loss.class_weights == "balanced" or run.data.balanced,
        only_head=all(phase.learns == (HEAD,) for phase in run.phases),
        train_loss=history.get("train/loss", {}).get(best_epoch),
        val_loss=history.get("val/loss", {}).get(best_epoch),
        best_epoch=best_epoch,
        epochs=int(run.metrics["epoch"]),
    )


def plain(node: Any) -> dict[str, Any]:
    """Return a group of settings as plain containers."""
    found: dict[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    return found


def described(group: Mapping[str, Any]) -> str:
    """Return a group with a `_target_` as its name and settings: `AdamW (lr=0.003, ...)`."""
    values = {key: value for key, value in group.items() if not key.startswith("_")}
    return group["_target_"].rpartition(".")[2] + settings(values)


def settings(values: Mapping[str, Any]) -> str:
    """Return ` (key=value, ...)`, nothing where there are none."""
    return f" ({', '.join(f'{key}={value}' for key, value in values.items())})" if values else ""


def command() -> str:
    """Return the command that began the run, without the folder; empty where Python called `train`."""
    if not HydraConfig.initialized():
        return ""
    return " ".join(["python train.py", *map(shlex.quote, HydraConfig.get().overrides.task)])
