"""What a run says about itself: the header before, the results after."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning as L
import torch
from torch import nn

from graft.data.labelled_images import LabelledImages
from graft.models.classifier import Classifier
from graft.models.freezing import Phase
from graft.preprocessing import Preprocessing

PROJECT = Path(__file__).resolve().parents[3]
MOST_CLASSES = 10  # More are counted, not named, so that the header stays short.


def data_summary(images: LabelledImages) -> str:
    """Return the targets, the images of each split, and how uneven the classes are."""
    splits = ", ".join(f"{split} {len(samples)}" for split, samples in images.samples.items())
    return f"data       {images.root}\n  {target_summary(images)}\n  images   {splits}"


def target_summary(images: LabelledImages) -> str:
    task, counts = images.task, images.class_counts("train")
    if not any(counts):
        return f"targets  {', '.join(task.columns)}"
    named = zip(task.columns, counts, strict=True)
    shown = ", ".join(f"{name} {number}" for name, number in named)
    if len(task.columns) > MOST_CLASSES:
        shown = f"{len(task.columns)} classes of {min(counts)} to {max(counts)} training images"
    uneven = max(counts) / max(1, min(counts))
    return f"classes  {shown} (largest {uneven:.1f} times the smallest)"


def network_summary(classifier: Classifier, preprocessing: Preprocessing, phases: list[Phase]) -> str:
    """Return the network, its weights, and what is trainable in each phase."""
    backbone = classifier.backbone
    height, width = preprocessing.crop
    lines = [
        f"network    {backbone.name} ({backbone.source}), {count(classifier.parameters()):,} parameters",
        f"  weights  {backbone.weights}",
        f"  images   {height}x{width} pixels",
    ]
    for number, phase in enumerate(phases, start=1):
        lines.append(f"phase {number}    {phase.name} trainable for {phase.epochs} epochs")
    return "\n".join(lines)


def phase_summary(phase: Phase, number: int, phases: int, module: nn.Module) -> str:
    """Return the line that opens a phase: what is trainable, how many parameters of how many."""
    trainable = count(p for p in module.parameters() if p.requires_grad)
    total = count(module.parameters())
    stages = (
        phase.trainable if len(phase.trainable) <= 3 else (phase.trainable[0], "...", phase.trainable[-1])
    )
    return (
        f"phase {number}/{phases}: {phase.name} ({', '.join(stages)}) trainable, "
        f"{trainable:,} of {total:,} parameters ({trainable / total:.2%})"
    )


def machine_summary(trainer: L.Trainer) -> str:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return f"device     {trainer.num_devices} x {name}{threads}, precision {trainer.precision}"


def results_table(metrics: Mapping[str, float]) -> str:
    names = [name for name in metrics if name.startswith("test/")]
    width = max(map(len, names))
    return "\n".join(f"  {name:<{width}}  {metrics[name]:.4f}" for name in names)


def next_steps(run: Path, best: Path, overrides: Sequence[str], has_curves: bool) -> str:
    """Return where everything lies and the commands that come next, for a run with these overrides.

    The commands can be pasted into a shell in the folder that the run's own command was typed in.
    """
    train, predict = (from_here(PROJECT / file) for file in ("train.py", "scripts/predict.py"))
    fine_tune = shlex.join(["python", train, *to_fine_tune(overrides)])
    named = shlex.quote(f"checkpoint={from_here(best)}")
    curves = shlex.join(["tensorboard", "--logdir", from_here(run / "tensorboard")])
    return (
        f"run folder  {run}\n"
        f"checkpoint  {best}\n"
        "next\n"
        + (f"  see the curves    {curves}\n" if has_curves else "")
        + f"  fine-tune         {fine_tune}\n"
        f"  predict           python {shlex.quote(predict)} {named} input=FOLDER"
    )


def to_fine_tune(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of a run that trains everything: each once, without this run's own."""
    last = {override.partition("=")[0].lstrip("+"): override for override in overrides}
    dropped = ("finetuning", "head.solver", "hydra", "resume", "paths.run", "recipe", "time_budget")
    kept = [
        override
        for key, override in last.items()
        if key != "freeze" and not any(key == name or key.startswith(f"{name}.") for name in dropped)
    ]
    return [*kept, "freeze=false"]


def from_here(path: Path) -> str:
    """Return a path as it is typed in the current folder: relative where it lies below, else absolute."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def count(parameters: object) -> int:
    return sum(parameter.numel() for parameter in parameters)  # type: ignore[attr-defined]
