"""What learns, and when: a schedule is a short list of phases, and a phase says which stages learn.

A stage is a named part of the network, from the stem to the head. Each phase is one `Trainer.fit`
(see `graft.training.phases.fit_phases`), so everything built for the one before, optimizer, learning-rate
schedule, DDP's buckets, compiled graphs, is built anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from graft.errors import UserError, suggestion
from graft.models.backbones import Backbone, stages
from graft.models.classifier import Classifier
from graft.models.norm_layers import norm_layers

HEAD = "head"

# The parameters of every stage, from stem to head, by the names that people see: `layer4.0.bn1.weight`.
Stages = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Phase:
    """A stretch of training in which the same things learn."""

    name: str  # as the console shows it
    learns: tuple[str, ...]  # stages, or patterns of parameter names (`layer4.*`), from stem to head
    epochs: int
    rate: float = 1.0  # factor on every learning rate
    patience: int | None = None  # it ends after so many epochs in which val/loss has not fallen
    is_solved: bool = False  # whether its head is fitted at once; see graft.features.head_solver


def named_stages(classifier: Classifier) -> dict[str, tuple[str, ...]]:
    """Return the parameters of every stage, the head's last; see `Stages`."""
    found = {
        stage.name: tuple(name.removeprefix("network.") for name in stage.parameters)
        for stage in stages(classifier.backbone)
    }
    return {**found, HEAD: tuple(f"{HEAD}.{name}" for name, _ in classifier.head.named_parameters())}


def standard(named: Stages, freeze: Any, max_epochs: int) -> list[Phase]:
    """Return the phases of `freeze`: the head only, everything, or the head for n epochs before it.

    Raises UserError where `freeze` is neither true nor false nor a number of epochs that leaves
    at least one of `max_epochs` for everything.
    """
    if freeze is True:
        return [Phase("head", (HEAD,), max_epochs)]
    if freeze is False:
        return [Phase("everything", tuple(named), max_epochs)]
    if not isinstance(freeze, int) or freeze < 1:
        raise UserError(f"freeze={freeze}: write true, false, or a number of epochs (1 or more).")
    if freeze >= max_epochs:
        raise UserError(
            f"freeze={freeze} leaves no epoch for fine-tuning: trainer.max_epochs is {max_epochs}; "
            "make it larger, or write freeze=true."
        )
    return [Phase("head", (HEAD,), freeze), Phase("everything", tuple(named), max_epochs - freeze)]


def lp_ft(
    named: Stages, freeze: Any, max_epochs: int, probe_epochs: int, patience: int, rate: float
) -> list[Phase]:
    """Return a linear probe, then everything from that head at `rate` times the learning rates.

    The probe has `probe_epochs`, fewer where it has converged: `patience` epochs without a lower `val/loss`.

    A converged head does not distort the pretrained features with the gradients of a random one
    (Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features, ICLR).
    """
    del freeze  # It names another schedule: `standard`.
    if not 1 <= probe_epochs < max_epochs:
        raise UserError(
            f"finetuning.schedule.probe_epochs={probe_epochs}: it is at least 1 and below "
            f"trainer.max_epochs={max_epochs}."
        )
    if patience < 1:
        raise UserError(f"finetuning.schedule.patience={patience}: it is at least 1.")
    return [
        Phase("head", (HEAD,), probe_epochs, patience=patience),
        Phase("everything", tuple(named), max_epochs - probe_epochs, rate),
    ]


def gradual(named: Stages, freeze: Any, max_epochs: int, epochs_per_stage: int) -> list[Phase]:
    """Return phases that begin with the head and let one more stage learn in each, up to the stem.

    The last one has the epochs that are left (Howard & Ruder 2018, ULMFiT, ACL).
    """
    del freeze
    names = tuple(named)
    needed = (len(names) - 1) * epochs_per_stage + 1
    if epochs_per_stage < 1 or max_epochs < needed:
        raise UserError(
            f"finetuning=gradual with epochs_per_stage={epochs_per_stage} and {len(names)} stages needs "
            f"trainer.max_epochs={needed} or more; it is {max_epochs}."
        )
    phases = [Phase("head", (HEAD,), epochs_per_stage)]
    phases += [Phase(f"from {names[i]}", names[i:], epochs_per_stage) for i in range(len(names) - 2, 0, -1)]
    return [*phases, Phase("everything", names, max_epochs - (len(names) - 1) * epochs_per_stage)]


def select(named: Stages, freeze: Any, max_epochs: int, train: Sequence[str]) -> list[Phase]:
    """Return one phase in which the parameters that match one of the patterns `train` learn.

    Raises UserError for a pattern that matches nothing, with the name nearest to it.
    """
    del freeze
    every = [name for names in named.values() for name in names]
    for pattern in train:
        if pattern not in named and not any(fnmatchcase(name, pattern) for name in every):
            hint = suggestion(pattern.rstrip(".*"), named)
            raise UserError(
                f"finetuning.train: {pattern} matches no parameter.{hint} Stages: {', '.join(named)}."
            )
    if not train:
        raise UserError("finetuning.train is empty: write patterns such as [layer4.*,head.*].")
    frozen = [name for name in named[HEAD] if not is_chosen(HEAD, name, train)]
    if frozen:
        raise UserError(
            f"finetuning.train=[{','.join(train)}] leaves {frozen[0]} of the new head frozen at its random "
            f"start; write 'finetuning.train=[{','.join([*train, HEAD])}]'."
        )
    chosen = [stage for stage, names in named.items() if any(is_chosen(stage, n, train) for n in names)]
    return [Phase("selected", (HEAD,) if chosen == [HEAD] else tuple(train), max_epochs)]


def is_chosen(stage: str, name: str, learns: Sequence[str]) -> bool:
    """Return whether stages or patterns of names hold a parameter."""
    return stage in learns or any(fnmatchcase(name, pattern) for pattern in learns)


def apply_phase(classifier: Classifier, phase: Phase, norm: str = "train") -> None:
    """Let exactly what the phase names learn; the state depends on the phase alone, not on the past.

    With `norm="frozen"`, the norm layers of the backbone never learn. Raises UserError for another
    value than train or frozen.
    """
    if norm not in ("train", "frozen"):
        raise UserError(f"finetuning.norm={norm}: write train or frozen.")
    backbone = {name.removeprefix("network."): p for name, p in classifier.backbone.named_parameters()}
    head = {f"{HEAD}.{name}": p for name, p in classifier.head.named_parameters()}
    for stage, names in named_stages(classifier).items():
        for name in names:
            parameter = (head if stage == HEAD else backbone)[name]
            parameter.requires_grad_(is_chosen(stage, name, phase.learns))
    let_auxiliary_heads_learn(classifier.backbone)
    if norm == "frozen":
        for module in norm_layers(classifier.backbone):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
        refuse_held_patterns(classifier, phase)
    for parameter in classifier.parameters():
        parameter.grad = None  # A gradient left from before would move a frozen tensor.


def refuse_held_patterns(classifier: Classifier, phase: Phase) -> None:
    """Raise a UserError for a pattern that names norm layers only, all of which are held."""
    learning = {
        name.removeprefix("backbone.").removeprefix("network.")
        for name, p in classifier.named_parameters()
        if p.requires_grad
    }
    named = named_stages(classifier)
    every = [name for names in named.values() for name in names]
    for pattern in phase.learns:
        if pattern in named:
            continue  # A stage of norms alone is a part of the schedules.
        matching = [name for name in every if fnmatchcase(name, pattern)]
        if matching and learning.isdisjoint(matching):
            raise UserError(
                f"finetuning.train: {pattern} names norm layers only, which finetuning.norm=frozen holds; "
                "write finetuning.norm=train, or leave the pattern out."
            )


def let_auxiliary_heads_learn(backbone: Backbone) -> None:
    """Let auxiliary classifiers learn as soon as anything of the backbone does.

    Their last layers are new: frozen, their losses would pull the backbone towards random answers.
    """
    learns = any(parameter.requires_grad for parameter in backbone.parameters())
    for name in backbone.auxiliary:
        backbone.network.get_submodule(name.split(".")[0]).requires_grad_(learns)


def hold_frozen(classifier: nn.Module, norm: str = "train") -> None:
    """Put every frozen part into evaluation mode: BatchNorm statistics fixed, dropout off.

    With `norm="frozen"`, this includes every norm layer, also those without weights.
    """
    hold_frozen_parts(classifier)
    if norm == "frozen":
        for module in norm_layers(classifier):
            module.eval()


def hold_frozen_parts(module: nn.Module) -> None:
    """Put every frozen part of a module into evaluation mode.

    A part is frozen when it has parameters and none of them learns. `requires_grad=False` alone
    does not stop BatchNorm from following the new images, nor dropout. A part without parameters
    (BatchNorm without weights, dropout) goes with the part before it.
    """
    parts = [(child, list(child.parameters())) for child in module.children()]
    learning = [any(p.requires_grad for p in parameters) for _, parameters in parts if parameters]
    own = list(module.parameters())
    if own and not any(parameter.requires_grad for parameter in own):
        module.eval()
        return
    follows_learning = learning[0] if learning else True
    for child, parameters in parts:
        if parameters:
            follows_learning = learning.pop(0)
            hold_frozen_parts(child)
        elif not follows_learning:
            child.eval()
