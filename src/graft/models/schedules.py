"""Schedules other than that of `freeze`: a linear probe first, stage after stage, or chosen parameters."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from graft.errors import UserError, suggestion
from graft.models.classifier import Classifier
from graft.models.freezing import HEAD, Phase, Stages, apply_phase, is_chosen, stage_parameters


def lp_ft(
    named: Stages, freeze: Any, max_epochs: int, probe_epochs: int, patience: int, rate: float
) -> list[Phase]:
    """Return a linear probe, then everything from that head at `rate` times the learning rates.

    The probe has `probe_epochs`, fewer where it has converged: `patience` epochs without a lower `val/loss`.
    A converged head does not distort the pretrained features with the gradients of a random one
    (Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features, ICLR).
    """
    if probe_epochs >= max_epochs:
        raise UserError(
            f"finetuning.schedule.probe_epochs={probe_epochs}: write fewer than "
            f"trainer.max_epochs={max_epochs}."
        )
    return [
        Phase("head", (HEAD,), probe_epochs, patience=patience),
        Phase("everything", tuple(named), max_epochs - probe_epochs, rate),
    ]


def gradual(named: Stages, freeze: Any, max_epochs: int, epochs_per_stage: int) -> list[Phase]:
    """Return phases that begin with the head and train one more stage each, up to the stem.

    The last one has the epochs that are left (Howard & Ruder 2018, ULMFiT, ACL).
    """
    names = tuple(named)
    left = max_epochs - (len(names) - 1) * epochs_per_stage
    if left < 1:
        raise UserError(
            f"finetuning=gradual with epochs_per_stage={epochs_per_stage} and {len(names)} stages needs "
            f"trainer.max_epochs={max_epochs - left + 1} or more; it is {max_epochs}."
        )
    phases = [Phase("head", (HEAD,), epochs_per_stage)]
    phases += [Phase(f"from {names[i]}", names[i:], epochs_per_stage) for i in range(len(names) - 2, 0, -1)]
    return [*phases, Phase("everything", names, left)]


def select(named: Stages, freeze: Any, max_epochs: int, train: Sequence[str]) -> list[Phase]:
    """Return one phase that trains the parameters that match one of the patterns `train`.

    Raises UserError for a pattern that matches nothing, and where a part of the new head stays frozen.
    """
    every = [name for names in named.values() for name in names]
    for pattern in train:
        if pattern not in named and not any(fnmatchcase(name, pattern) for name in every):
            hint = suggestion(pattern.rstrip(".*"), named)
            raise UserError(
                f"finetuning.train: {pattern} matches no parameter.{hint} Stages: {', '.join(named)}."
            )
    frozen = [name for name in named[HEAD] if not is_chosen(HEAD, name, train)]
    if frozen:
        raise UserError(
            f"finetuning.train=[{','.join(train)}] leaves {frozen[0]} of the new head frozen at its random "
            f"start; write 'finetuning.train=[{','.join([*train, HEAD])}]'."
        )
    chosen = [stage for stage, names in named.items() if any(is_chosen(stage, n, train) for n in names)]
    return [Phase("selected", (HEAD,) if chosen == [HEAD] else tuple(train), max_epochs)]


def refuse_held_patterns(classifier: Classifier, phase: Phase) -> None:
    """Raise a UserError for a pattern that names norm layers only, where these are frozen."""
    apply_phase(classifier, phase, "frozen")
    parameters = list(stage_parameters(classifier))
    stages = {stage for stage, _, _ in parameters}  # One of norms alone is a part of the schedules.
    for pattern in phase.trainable:
        matching = [parameter for _, name, parameter in parameters if fnmatchcase(name, pattern)]
        if pattern not in stages and matching and not any(p.requires_grad for p in matching):
            raise UserError(
                f"finetuning.train: {pattern} names norm layers only, and these are frozen; "
                "write finetuning.norm=train, or leave the pattern out."
            )
