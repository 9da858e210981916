"""A backbone whose features are the outputs of several stages, not of the last alone."""

import threading
from typing import Any

import torch
from torch import Tensor, nn

from graft.errors import UserError
from graft.models.backbones.backbone import Backbone
from graft.models.backbones.image_sizes import trial_output
from graft.models.backbones.network import BuiltNetwork
from graft.models.backbones.stages import stages


def backbone_of(source: str, built: BuiltNetwork, count: int) -> Backbone:
    """Return the backbone whose features come from the last `count` stages of the network."""
    return Backbone(source, built) if count == 1 else SeveralStages(source, built, count)


class SeveralStages(Backbone):
    """Puts the outputs of the stages before the last, averaged over all positions, before its own features.

    Images that are unlike those of the pretraining are often told apart better by what earlier layers see
    (Evci et al. 2022, Head2Toe, arXiv:2201.03529). Raises UserError where the network has no such stages.
    """

    def __init__(self, source: str, built: BuiltNetwork, count: int) -> None:
        super().__init__(source, built)
        self.count = count
        # Of the stages that a forward pass has left behind, by thread: several may run the network.
        self.means: dict[int, list[Tensor]] = {}
        names = [stage.name for stage in stages(self)][1:]  # The stem is no module of its own.
        if count > len(names) or self.has_convolutional_head:
            most = 1 if self.has_convolutional_head else len(names)
            raise UserError(f"model.stages={count}: {self.name} takes at most {most}.")
        for name in names[-count:-1]:
            self.network.get_submodule(name).register_forward_hook(self._add_mean)
        self.num_features = trial_output(self.eval(), self.preprocessing.crop, 1, self.channels).shape[1]

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the features, those of the last stage at the end, and the auxiliary logits."""
        self.means[threading.get_ident()] = []
        features, logits = super().forward_with_auxiliary(images)
        return torch.cat([*self.means.pop(threading.get_ident()), features], dim=1), logits

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "stages": self.count}

    def _add_mean(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.means[threading.get_ident()].append(mean_over_positions(output))


def mean_over_positions(output: Tensor) -> Tensor:
    """Return `[B, C]` of a stage's output: `[B, C, h, w]`, `[B, h, w, C]` of square images, `[B, N, C]`."""
    if output.ndim == 3:
        return output.mean(dim=1)
    _, first, second, third = output.shape
    return output.mean(dim=(1, 2) if first == second != third else (2, 3))
