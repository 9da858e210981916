"""What is trained, and when: a schedule is a list of phases, and a phase names the stages that it trains.

A stage is a named part of the network, from the stem to the head. Each phase is one `Trainer.fit`
(see `graft.training.phases.fit_phases`), so the optimizer and all else that a fit needs is built anew for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from graft.errors import UserError
from graft.models.backbones import stages
from graft.models.classifier import Classifier
from graft.models.norm_layers import norm_layers

HEAD = "head"

# The parameters of every stage, from stem to head, by the names that people see: `layer4.0.bn1.weight`.
Stages = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Phase:
    """A part of training in which the same parameters are trainable."""

    name: str  # as the console shows it
    trainable: tuple[str, ...]  # stages, or patterns of parameter names (`layer4.*`), from stem to head
    epochs: int
    rate_factor: float = 1.0  # of every learning rate
    patience: int | None = None  # the phase ends after so many epochs in which val/loss has not fallen
    solved_l2: str | float | None = None  # of a head that is fitted at once to cached features: `head.l2`


def named_stages(classifier: Classifier) -> dict[str, tuple[str, ...]]:
    """Return the parameters of every stage, the head's last; see `Stages`."""
    named = {
        stage.name: tuple(name.removeprefix("network.") for name in stage.parameters)
        for stage in stages(classifier.backbone)
    }
    return {**named, HEAD: tuple(f"{HEAD}.{name}" for name, _ in classifier.head.named_parameters())}


def stage_parameters(classifier: Classifier) -> Iterator[tuple[str, str, nn.Parameter]]:
    """Yield stage, name and parameter of everything that a phase can train."""
    for stage, names in named_stages(classifier).items():
        for name in names:
            path = name if stage == HEAD else f"backbone.network.{name}"
            yield stage, name, classifier.get_parameter(path)


def standard(named: Stages, freeze: Any, max_epochs: int) -> list[Phase]:
    """Return the phases of `freeze`: the head only, everything, or the head for n epochs before it.

    Raises UserError where `freeze` is neither true nor false nor a number of epochs that leaves
    at least one of `max_epochs` for everything.
    """
    if freeze is True:
        return [Phase("head", (HEAD,), max_epochs)]
    if freeze is False:
        return [Phase("everything", tuple(named), max_epochs)]
    if not isinstance(freeze, int) or not 1 <= freeze < max_epochs:
        raise UserError(
            f"freeze={freeze}: write true, false, or a number of epochs from 1 to {max_epochs - 1}, which is "
            f"below trainer.max_epochs={max_epochs}."
        )
    return [Phase("head", (HEAD,), freeze), Phase("everything", tuple(named), max_epochs - freeze)]


def is_chosen(stage: str, name: str, trainable: Sequence[str]) -> bool:
    """Return whether a parameter is in one of the stages, or matches one of the patterns."""
    return stage in trainable or any(fnmatchcase(name, pattern) for pattern in trainable)


def apply_phase(classifier: Classifier, phase: Phase, norm: str = "train") -> None:
    """Make exactly what the phase names trainable; the state depends on the phase alone, not on the past.

    With `norm="frozen"`, the norm layers of the backbone are frozen in every phase.
    """
    for stage, name, parameter in stage_parameters(classifier):
        parameter.requires_grad_(is_chosen(stage, name, phase.trainable))
    backbone = classifier.backbone
    is_trained = any(parameter.requires_grad for parameter in backbone.parameters())
    for name in backbone.auxiliary:
        # Their last layers are new: frozen, their losses would pull the backbone towards random answers.
        backbone.network.get_submodule(name.split(".")[0]).requires_grad_(is_trained)
    if norm == "frozen":
        for module in norm_layers(backbone):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
    for parameter in classifier.parameters():
        parameter.grad = None  # A gradient left from before would move a frozen tensor.


def hold_frozen(classifier: nn.Module, norm: str = "train") -> None:
    """Put every frozen part into evaluation mode: BatchNorm statistics fixed, dropout off.

    With `norm="frozen"`, this includes every norm layer, also those without weights.
    """
    hold_frozen_parts(classifier)
    if norm == "frozen":
        for module in norm_layers(classifier):
            module.eval()


def hold_frozen_parts(module: nn.Module) -> None:
    """Put a module into evaluation mode where none of its parameters is trainable, else its frozen parts.

    `requires_grad=False` alone does not stop BatchNorm from following the new images, nor dropout. A part
    without parameters (BatchNorm without weights, dropout) goes with the part before it.
    """
    if is_trainable(module) is False:
        module.eval()
        return
    parts = [(child, is_trainable(child)) for child in module.children()]
    follows = next((trainable for _, trainable in parts if trainable is not None), True)
    for child, trainable in parts:
        if trainable is not None:
            follows = trainable
            hold_frozen_parts(child)
        elif not follows:
            child.eval()


def is_trainable(module: nn.Module) -> bool | None:
    """Return whether any parameter of the module is trainable; None where it has no parameters."""
    parameters = list(module.parameters())
    return any(parameter.requires_grad for parameter in parameters) if parameters else None
