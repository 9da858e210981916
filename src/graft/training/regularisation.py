"""Keeps a network that learns from few images from straying: L2-SP, MixUp, CutMix."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from graft.errors import UserError
from graft.models.backbones import Backbone
from graft.models.freezing import HEAD, Phase


class StartingPoint(nn.Module):
    """L2-SP: a pull of the backbone towards the weights it started from, not towards zero.

    Li, Grandvalet & Davoine 2018, Explicit Inductive Bias for Transfer Learning, ICML. Keeps a copy of the
    backbone's weights; a resumed run loads the same pretrained ones again.
    """

    def __init__(self, backbone: nn.Module, strength: float) -> None:
        super().__init__()
        if strength < 0:
            raise UserError(f"loss.l2_sp={strength}: it is 0 or more.")
        self.strength = strength
        self.learning = list(backbone.parameters())
        for number, parameter in enumerate(self.learning):
            self.register_buffer(f"start{number}", parameter.detach().clone(), persistent=False)

    def penalty(self) -> Tensor:
        """Return strength / 2 times the squared distance of what learns to where it started."""
        distances = [
            (parameter - self.get_buffer(f"start{number}")).square().sum()
            for number, parameter in enumerate(self.learning)
            if parameter.requires_grad
        ]
        return self.strength / 2 * torch.stack(distances).sum() if distances else torch.zeros(())


def refuse_useless_pull(strength: float, backbone: Backbone, phases: Sequence[Phase]) -> None:
    """Raise a UserError where L2-SP would pull towards random weights, or nothing at all."""
    if strength and not backbone.is_pretrained:
        raise UserError(
            f"loss.l2_sp={strength} pulls the backbone towards its first weights, but "
            "model.weights=null makes them random; write loss.l2_sp=0, or choose weights."
        )
    if strength and all(phase.learns == (HEAD,) for phase in phases):
        raise UserError(
            f"loss.l2_sp={strength} pulls the backbone, which stays frozen in every phase; "
            "write loss.l2_sp=0, or let the backbone learn with freeze=false."
        )


def batch_mixing(
    num_classes: int, mixup: float, cutmix: float
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Return what mixes a batch `([B, 3, H, W], [B])` into one with soft targets `[B, num_classes]`.

    None where both alphas are 0. Zhang et al. 2018, mixup, ICLR; Yun et al. 2019, CutMix, ICCV.
    """
    for key, alpha in (("mixup", mixup), ("cutmix", cutmix)):
        if alpha < 0:
            raise UserError(f"loss.{key}={alpha}: it is 0 or more.")
    choices: list[v2.Transform] = []
    if mixup > 0:
        choices.append(v2.MixUp(alpha=mixup, num_classes=num_classes))
    if cutmix > 0:
        choices.append(v2.CutMix(alpha=cutmix, num_classes=num_classes))
    return v2.RandomChoice(choices) if choices else None
