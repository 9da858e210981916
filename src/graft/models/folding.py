"""Folds frozen BatchNorm layers into the convolutions before them: less to compute, the same outputs.

A frozen BatchNorm multiplies and shifts each channel by constants, which the convolution can do by itself.
"""

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call

from graft.models.classifier import Classifier

TOLERANCE = 1e-4  # largest difference, relative to the largest output, that is taken for rounding


@dataclass(frozen=True)
class Fold:
    """What the norm behind a convolution does to each of its channels."""

    convolution: str
    scale: Tensor  # [C]
    shift: Tensor  # [C]

    def weights(self, network: nn.Module) -> dict[str, Tensor]:
        """Return weight and bias of the convolution with its norm, from the network's own."""
        convolution = network.get_submodule(self.convolution)
        assert isinstance(convolution, nn.Conv2d)
        bias = self.shift if convolution.bias is None else self.shift + self.scale * convolution.bias
        weight = convolution.weight * self.scale.view(-1, 1, 1, 1)
        return {f"{self.convolution}.weight": weight, f"{self.convolution}.bias": bias}


class FoldedTraining:
    """The training forward of a classifier without its frozen BatchNorm layers, which are folded.

    Each call computes the weights of the convolutions anew from the classifier's own, which the gradients
    reach. The classifier stays as it is. The layers are those that are frozen when the first batch comes.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.network: nn.Module | None = None
        self.folds: list[Fold] = []

    def __call__(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits of images `[B, C, H, W]`, and those of the auxiliary classifiers."""
        if self.network is None:
            self.network = self._copy(images[:2])
        if not self.folds:
            return self.classifier.forward_with_auxiliary(images)
        weights: dict[str, Tensor] = {}
        for fold in self.folds:
            weights |= fold.weights(self.classifier)
        outputs: tuple[Tensor, list[Tensor]] = functional_call(self.network, weights, (images,))
        return outputs

    @torch.no_grad()
    def _copy(self, images: Tensor) -> nn.Module:
        """Return the classifier without the norms that could be folded; they share all other tensors."""
        if not any(map(is_frozen_norm, self.classifier.modules())):
            return self.classifier
        tensors = chain(self.classifier.parameters(), self.classifier.buffers())
        copied = copy.deepcopy(self.classifier, {id(tensor): tensor for tensor in tensors})
        frozen = {name for name, module in copied.named_modules() if is_frozen_norm(module)}
        modes = [(module, module.training) for module in copied.modules()]
        copied.eval()
        with torch.autocast(images.device.type, enabled=False):
            expected = copied(images)
            folds = fold_norms(copied, images, frozen.__contains__)
            if are_close(expected, copied(images)):
                self.folds = folds
        for module, is_training in modes:
            module.training = is_training
        copied.forward = copied.forward_with_auxiliary  # type: ignore[assignment, method-assign]
        return copied


@torch.inference_mode()
def folded(network: nn.Module, images: Tensor) -> nn.Module:
    """Return a copy of a network in evaluation mode with its BatchNorm layers folded into its convolutions.

    Both are run on `images` `[B, C, H, W]`. Where their outputs differ by more than rounding, such as when
    something else also uses a convolution's output, the network itself is returned.
    """
    network = network.eval()
    copied = copy.deepcopy(network)
    fold_norms(copied, images)
    copied.to(memory_format=torch.channels_last)
    return copied if are_close(network(images), copied(images)) else network


def fold_norms(
    network: nn.Module, images: Tensor, is_chosen: Callable[[str], bool] = lambda name: True
) -> list[Fold]:
    """Fold the chosen norms of a network in evaluation mode, in place, and return what was done."""
    folds = []
    names = {module: name for name, module in network.named_modules()}
    for convolution, norm_name in normalised_convolutions(network, images):
        if not is_chosen(norm_name):
            continue
        norm = network.get_submodule(norm_name)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        scale = scale if norm.weight is None else scale * norm.weight
        shift = -norm.running_mean * scale
        shift = shift if norm.bias is None else shift + norm.bias
        fold = Fold(names[convolution], scale.detach(), shift.detach())
        for name, tensor in fold.weights(network).items():
            setattr(convolution, name.rpartition(".")[2], nn.Parameter(tensor))
        # timm's norms also have dropout and an activation.
        rest = [norm.get_submodule(name) for name in ("drop", "act") if hasattr(norm, name)]
        network.set_submodule(norm_name, nn.Sequential(*rest))
        folds.append(fold)
    return folds


def is_frozen_norm(module: nn.Module) -> bool:
    """Return whether a module is a BatchNorm2d whose statistics and weights do not change in training."""
    is_trained = module.training or any(p.requires_grad for p in module.parameters(recurse=False))
    return isinstance(module, nn.BatchNorm2d) and module.track_running_stats and not is_trained


def are_close(expected: Tensor, output: Tensor) -> bool:
    if output.shape != expected.shape:  # Such as where a hook on a norm has gone with it.
        return False
    return bool((output - expected).abs().max() <= TOLERANCE * expected.abs().max())


def normalised_convolutions(network: nn.Module, images: Tensor) -> list[tuple[nn.Conv2d, str]]:
    """Return each convolution whose output goes into a BatchNorm, with that norm's name; both run once."""
    computed_by: dict[int, nn.Conv2d] = {}
    outputs: list[Tensor] = []  # While they are referenced, no two tensors have the same id.
    runs: Counter[nn.Module] = Counter()
    pairs: list[tuple[nn.Conv2d, str]] = []

    def note(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        runs[module] += 1
        if isinstance(module, nn.Conv2d):
            computed_by[id(output)] = module
            outputs.append(output)
        elif id(inputs[0]) in computed_by:
            pairs.append((computed_by[id(inputs[0])], name))

    hooks = []
    for name, module in network.named_modules():
        has_statistics = isinstance(module, nn.BatchNorm2d) and module.track_running_stats
        if has_statistics or isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(partial(note, name)))
    network(images)
    for hook in hooks:
        hook.remove()
    return [(conv, name) for conv, name in pairs if runs[conv] == 1 == runs[network.get_submodule(name)]]
