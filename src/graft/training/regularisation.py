"""Regularisation beside weight decay and augmentation: L2-SP, MixUp, CutMix."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from graft.errors import UserError
from graft.models.backbones import Backbone
from graft.models.freezing import HEAD, Phase
from graft.tasks.task import Task


class StartingPoint(nn.Module):
    """L2-SP: a pull of the backbone towards the weights it started from, not towards zero.

    Li, Grandvalet & Davoine 2018, Explicit Inductive Bias for Transfer Learning, ICML. Keeps a copy of the
    backbone's weights; a resumed run loads the same pretrained ones again.
    """

    def __init__(self, backbone: nn.Module, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.parameters_of_backbone = list(backbone.parameters())
        for number, parameter in enumerate(self.parameters_of_backbone):
            self.register_buffer(f"start{number}", parameter.detach().clone(), persistent=False)

    def penalty(self) -> Tensor:
        """Return strength / 2 times the squared distance of trainable parameters to where they started."""
        distances = [
            (parameter - self.get_buffer(f"start{number}")).square().sum()
            for number, parameter in enumerate(self.parameters_of_backbone)
            if parameter.requires_grad
        ]
        return self.strength / 2 * torch.stack(distances).sum() if distances else torch.zeros(())


def refuse_useless_pull(strength: float, backbone: Backbone, phases: Sequence[Phase]) -> None:
    """Raise a UserError where L2-SP would pull towards random weights, or nothing at all."""
    if strength and not backbone.is_pretrained:
        raise UserError(
            f"regularisation.l2_sp={strength} pulls the backbone towards its initial weights, but "
            "model.weights=null makes them random; write regularisation.l2_sp=0, or choose weights."
        )
    if strength and all(phase.trainable == (HEAD,) for phase in phases):
        raise UserError(
            f"regularisation.l2_sp={strength} pulls the backbone, which stays frozen in every phase; "
            "write regularisation.l2_sp=0, or make the backbone trainable with freeze=false."
        )


BatchMixing = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def batch_mixing(task: Task, loss: nn.Module, mixup: float, cutmix: float) -> BatchMixing | None:
    """Return what mixes a batch `([B, C, H, W], [B])` into one with soft targets `[B, num_classes]`.

    None where both alphas are 0. Raises UserError for targets that are not classes, and for a loss other than
    cross-entropy. Zhang et al. 2018, mixup, ICLR; Yun et al. 2019, CutMix, ICCV.
    """
    if (mixup or cutmix) and not task.has_classes:
        raise UserError(f"regularisation.mixup and cutmix mix classes: leave them out with task={task.name}.")
    if (mixup or cutmix) and not isinstance(loss, nn.CrossEntropyLoss):
        raise UserError(
            "regularisation.mixup and cutmix need loss=cross_entropy: their targets are shares of classes, "
            f"which {type(loss).__name__} does not take."
        )
    num_classes = len(task.columns)
    choices: list[v2.Transform] = []
    if mixup > 0:
        choices.append(v2.MixUp(alpha=mixup, num_classes=num_classes))
    if cutmix > 0:
        choices.append(v2.CutMix(alpha=cutmix, num_classes=num_classes))
    return v2.RandomChoice(choices) if choices else None
