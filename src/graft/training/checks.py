"""Refuses phases that would fail, or would not do what the settings say."""

from collections.abc import Sequence
from typing import Any

from graft.data.module import ImageDataModule
from graft.errors import UserError
from graft.features.head_solver import refuse_shares  # room: features
from graft.models.classifier import Classifier
from graft.models.freezing import Phase
from graft.models.norm_layers import resolve_norm
from graft.models.schedules import refuse_held_patterns
from graft.models.trial import refuse_failing_phase
from graft.training.regularisation import refuse_useless_pull


def refuse_idle_processes(data: ImageDataModule, processes: int) -> None:
    """Raise UserError where a split has fewer images than there are processes: Lightning would fail late."""
    for split, samples in data.images.samples.items():
        if len(samples) < processes:
            raise UserError(
                f"{split} has {len(samples)} images for {processes} processes: write trainer.devices="
                f"{len(samples)} or less, or add images."
            )


def refuse_untrainable(
    settings: dict[str, Any], classifier: Classifier, data: ImageDataModule, phases: Sequence[Phase]
) -> None:
    """Raise UserError where the settings ask for what these phases cannot train."""
    norm = resolve_norm(settings["finetuning"]["norm"], classifier.backbone)
    if norm == "frozen":
        for phase in phases:
            refuse_held_patterns(classifier, phase)
    if any(phase.solved_l2 is not None for phase in phases):  # room: features
        refuse_shares(data.images.samples["train"], data.balanced, "head.solver=lbfgs")  # room: features
    refuse_useless_pull(settings["regularisation"]["l2_sp"], classifier.backbone, phases)
    refuse_failing_phase(classifier, phases, norm, data.preprocessing.crop, data.batch_size)
