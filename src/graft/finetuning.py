"""What learns, and when: a schedule is a short list of phases, and a phase says which stages learn.

A stage is a named part of the network, from the stem to the head. Each phase is one `Trainer.fit`
(see `graft.training.fit_phases`), so everything built for the one before, optimizer, learning-rate
schedule, DDP's buckets, compiled graphs, is built anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from graft.backbones.stages import stages
from graft.classifier import Classifier
from graft.errors import UserError

HEAD = "head"


@dataclass(frozen=True)
class Phase:
    """A stretch of training in which the same stages learn."""

    name: str  # as the console and TensorBoard show it
    learns: tuple[str, ...]  # names of the stages that learn, from stem to head
    epochs: int


def stage_names(classifier: Classifier) -> tuple[str, ...]:
    """Return the names of the network's stages from stem to head."""
    return (*(stage.name for stage in stages(classifier.backbone)), HEAD)


def standard(all_stages: Sequence[str], freeze: Any, max_epochs: int) -> list[Phase]:
    """Return the phases of `freeze`: the head only, everything, or the head for n epochs before it.

    Raises UserError where `freeze` is neither true nor false nor a number of epochs that leaves
    at least one of `max_epochs` for everything.
    """
    if max_epochs < 1:
        raise UserError(f"trainer.max_epochs={max_epochs}: it is at least 1.")
    if freeze is True:
        return [Phase("head", (HEAD,), max_epochs)]
    if freeze is False:
        return [Phase("everything", tuple(all_stages), max_epochs)]
    if not isinstance(freeze, int) or freeze < 1:
        raise UserError(f"freeze={freeze}: write true, false, or a number of epochs (1 or more).")
    if freeze >= max_epochs:
        raise UserError(
            f"freeze={freeze} leaves no epoch for fine-tuning: trainer.max_epochs is {max_epochs}; "
            "make it larger, or write freeze=true."
        )
    return [
        Phase("head", (HEAD,), freeze),
        Phase("everything", tuple(all_stages), max_epochs - freeze),
    ]


def apply_phase(classifier: Classifier, phase: Phase) -> None:
    """Let exactly the phase's stages learn; the state depends on the phase alone, not on the past."""
    parameters = dict(classifier.backbone.named_parameters())
    for stage in stages(classifier.backbone):
        for name in stage.parameters:
            parameters[name].requires_grad_(stage.name in phase.learns)
    classifier.head.requires_grad_(HEAD in phase.learns)
    for parameter in classifier.parameters():
        parameter.grad = None  # A gradient left from before would move a frozen tensor.


def hold_frozen(module: nn.Module) -> None:
    """Put every frozen part into evaluation mode: BatchNorm statistics fixed, dropout off.

    A part is frozen when it has parameters and none of them learns. `requires_grad=False` alone
    does not stop BatchNorm from following the new pictures, nor dropout.
    """
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        return
    for child in module.children():
        hold_frozen(child)
