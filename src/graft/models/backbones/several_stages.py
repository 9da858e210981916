"""A backbone whose features are the outputs of several stages, not of the last alone."""

import threading
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import SwinTransformer

from graft.errors import UserError
from graft.models.backbones.backbone import Backbone
from graft.models.backbones.image_sizes import trial_output
from graft.models.backbones.network import BuiltNetwork
from graft.models.backbones.stages import Stage, stages


def backbone_of(source: str, built: BuiltNetwork, count: int) -> Backbone:
    """Return the backbone whose features come from the last `count` stages of the network."""
    return Backbone(source, built) if count == 1 else SeveralStages(source, built, count)


class SeveralStages(Backbone):
    """Puts the outputs of the stages before the last, averaged over all positions, before its own features.

    Images that are unlike those of the pretraining are often told apart better by what earlier layers see
    (Evci et al. 2022, Head2Toe, arXiv:2201.03529). Raises UserError where the network has no such stages, or
    their outputs cannot be averaged.
    """

    def __init__(self, source: str, built: BuiltNetwork, count: int) -> None:
        super().__init__(source, built)
        self.count = count
        # Of the stages that a forward pass has left behind, by thread: several may run the network.
        self.means: dict[int, list[Tensor]] = {}
        self.has_channels_last = declares_channels_last(self.network)
        after_stem = stages(self)[1:]  # The stem is no module of its own.
        if count > len(after_stem) or self.has_convolutional_head:
            most = 1 if self.has_convolutional_head else len(after_stem)
            raise UserError(f"model.stages={count}: {self.name} takes at most {most}.")
        for stage in after_stem[-count:-1]:
            if not is_one_module(self.network, stage):
                raise UserError(
                    f"model.stages={count}: the stage {stage.name} of {self.name} is several modules, none "
                    "of which returns its output; write model.stages=1."
                )
            self.network.get_submodule(stage.name).register_forward_hook(self._add_mean)
        self.num_features = trial_output(self.eval(), self.preprocessing.crop, 1, self.channels).shape[1]

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the features, those of the last stage at the end, and the auxiliary logits."""
        self.means[threading.get_ident()] = []
        features, logits = super().forward_with_auxiliary(images)
        return torch.cat([*self.means.pop(threading.get_ident()), features], dim=1), logits

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "stages": self.count}

    def _add_mean(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim not in (3, 4):
            raise UserError(
                f"model.stages={self.count}: a stage of {self.name} returns no map [B, C, h, w] or tokens "
                "[B, N, C] that could be averaged; write model.stages=1."
            )
        self.means[threading.get_ident()].append(mean_over_positions(output, self.has_channels_last))


def is_one_module(network: nn.Module, stage: Stage) -> bool:
    """Return whether the module that a stage is named after has all of it, and is called itself."""
    if not all(name.startswith(f"network.{stage.name}.") for name in stage.parameters):
        return False
    return not isinstance(network.get_submodule(stage.name), nn.ModuleList | nn.ModuleDict)


def declares_channels_last(network: nn.Module) -> bool:
    """Return whether maps are `[B, h, w, C]`, as timm says; torchvision does not say it of its Swin."""
    return getattr(network, "output_fmt", None) == "NHWC" or isinstance(network, SwinTransformer)


def mean_over_positions(output: Tensor, has_channels_last: bool) -> Tensor:
    """Return the mean `[B, C]` of a stage's tokens `[B, N, C]`, or of its map.

    Maps are `[B, C, h, w]`; `[B, h, w, C]` where the network says so, or where h and w alone are equal.
    """
    if output.ndim == 3:
        return output.mean(dim=1)
    _, first, second, third = output.shape
    return output.mean(dim=(1, 2) if has_channels_last or first == second != third else (2, 3))
