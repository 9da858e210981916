"""What a run says about itself: the header before, the results after."""

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import lightning as L
import torch
from torch import nn

from graft.data.labelled_images import LabelledImages
from graft.models.classifier import Classifier
from graft.models.freezing import HEAD, Phase
from graft.preprocessing import Preprocessing

PROJECT = Path(__file__).resolve().parents[3]
MOST_CLASSES = 10  # More are counted, not named, so that the header stays short.
MENTIONED = 1.05  # the largest class in terms of the smallest


def data_summary(images: LabelledImages) -> str:
    """Return the images of each split, the targets, and how uneven the training split's classes are."""
    splits = ", ".join(f"{split} {len(samples)}" for split, samples in images.samples.items())
    return f"data       {from_here(images.root)}\n  images   {splits}\n  {target_summary(images)}"


def target_summary(images: LabelledImages) -> str:
    columns, counts = images.task.columns, images.class_counts("train")
    if not any(counts):
        return f"targets  {', '.join(columns)}"
    shown = ", ".join(f"{name} {number}" for name, number in zip(columns, counts, strict=True))
    if len(columns) > MOST_CLASSES:
        shown = f"{len(columns)} of {min(counts)} to {max(counts)} images"
    uneven = max(counts) / max(1, min(counts))
    compared = f" (largest {uneven:.1f} times the smallest)" if uneven >= MENTIONED else ""
    return f"classes  {shown} in train{compared}"


def network_summary(classifier: Classifier, preprocessing: Preprocessing) -> str:
    backbone = classifier.backbone
    height, width = preprocessing.crop
    return (
        f"network    {backbone.name} ({backbone.source}), {count(classifier.parameters()):,} parameters\n"
        f"  weights  {backbone.weights}\n"
        f"  images   {height}x{width} pixels"
    )


def phase_summary(phase: Phase, number: int, phases: int, module: nn.Module, norm: str) -> str:
    """Return the line that opens a phase: what is trainable, for how long, and how much of the network."""
    trainable = count(p for p in module.parameters() if p.requires_grad)
    frozen = ", norm layers frozen" if norm == "frozen" and phase.trainable != (HEAD,) else ""
    return (
        f"phase {number}/{phases}: {phase.name} trainable for {plural(phase.epochs, 'epoch')} "
        f"({trainable:,} parameters, {trainable / count(module.parameters()):.2%}{frozen})"
    )


def machine_summary(trainer: L.Trainer) -> str:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    threads = f", {plural(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else ""
    return f"device     {trainer.num_devices} x {name}{threads}, precision {trainer.precision}"


def results_table(metrics: Mapping[str, float]) -> str:
    names = [name for name in metrics if name.startswith("test/")]
    width = max(map(len, names))
    return "\n".join(f"  {name:<{width}}  {metrics[name]:.4f}" for name in names)


def next_steps(run: Path, best: Path, has_curves: bool) -> str:
    """Return where everything lies and the commands that use it.

    The commands can be pasted into a shell in the folder that the run's own command was typed in.
    """
    folder = from_here(run)
    predict = [executable("python"), from_here(PROJECT / "scripts" / "predict.py"), folder, "FOLDER"]
    commands = {"predict": predict}
    if has_curves:
        commands["see the curves"] = [executable("tensorboard"), "--logdir", folder]
    steps = [f"  {name}\n    {shlex.join(command)}" for name, command in commands.items()]
    return "\n".join([f"run folder  {folder}", f"checkpoint  {from_here(best)}", "next", *steps])


def executable(name: str) -> str:
    """Return how this shell calls a program of this environment: by name where it is activated."""
    program = Path(sys.executable).with_name(name).absolute()
    on_path = Path(shutil.which(name) or "").absolute()
    return name if on_path.parent == program.parent else from_here(program)


def from_here(path: Path) -> str:
    """Return a path as it is typed in the current folder: relative where it lies below, else absolute."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def count(parameters: object) -> int:
    return sum(parameter.numel() for parameter in parameters)  # type: ignore[attr-defined]
