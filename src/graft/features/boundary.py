"""Where a network that learns in part is cut, so that the frozen parts before the cut run once."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graft.models.backbones import Backbone
from graft.models.classifier import Classifier
from graft.models.tail import Tail

log = logging.getLogger(__name__)

NETWORK = "network"  # of a backbone
# Largest differences, relative to the largest number, that are taken for rounding. A gradient is a sum that
# devices may add up in any order.
SAME, SAME_GRADIENT = 1e-5, 1e-3


@dataclass(frozen=True)
class Cut:
    """A backbone in two: `front` makes of images what the rest goes on from."""

    front: nn.Module  # images [B, 3, H, W] to activations [B, ...]
    parts: tuple[str, ...]  # names of its modules in the backbone
    before: str | None  # name of the first module of the rest; None: the head

    def tail(self, classifier: Classifier, shape: torch.Size) -> Tail:
        """Return the rest of the classifier, which goes on from activations `[B, *shape]`."""
        return Tail(classifier, self.parts, shape)


class Reached(Exception):  # noqa: N818 -- no error: it ends a forward pass early
    """The module before which a network is cut has been called."""

    def __init__(self, inputs: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.inputs = inputs


class Front(nn.Module):
    """A backbone up to one of its modules, whose input it returns; what comes after does not run."""

    def __init__(self, backbone: Backbone, before: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.before = before

    def forward(self, images: Tensor) -> Tensor:
        """Return activations `[B, ...]`; ValueError where the module is not called with one tensor."""

        def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            raise Reached(inputs)

        hook = self.backbone.get_submodule(self.before).register_forward_pre_hook(stop)
        try:
            self.backbone(images)
        except Reached as reached:
            (activations,) = reached.inputs
            return activations
        finally:
            hook.remove()
        raise ValueError(f"{self.before} is never called")


def learns(module: nn.Module) -> bool:
    """Return whether any parameter of the module learns."""
    return any(parameter.requires_grad for parameter in module.parameters())


def find_cut(classifier: Classifier, images: Tensor) -> Cut | None:
    """Return the latest cut after which all that learns comes; the backbone is in evaluation mode.

    Networks that run their parts one after another can be cut. Whether one does is tried out: both halves
    together have to make of the images `[B, 3, H, W]` what the whole makes of them. None where no cut does,
    such as in transformers with a class token.
    """
    backbone = classifier.backbone
    if not learns(backbone):
        return Cut(backbone, (NETWORK,), None)
    for parts, before in leading_parts(backbone):
        cut = Cut(Front(backbone, before), parts, before)
        if is_exact(cut, classifier, images):
            return cut
    return None


def leading_parts(backbone: Backbone) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the frozen modules that come first, and the module after them; the longest such front first.

    They are those in order of registration before the first that learns; then, longer, also those before the
    first that learns within that one, and so on.
    """
    found: list[tuple[tuple[str, ...], str]] = []
    parts: list[str] = []
    module, path = backbone.get_submodule(""), ""
    while learns(module) and not any(p.requires_grad for p in module.parameters(recurse=False)):
        has_more = False
        for name, child in module.named_children():
            first, following = f"{path}{name}", child
            if learns(child):
                break
            parts.append(first)
            has_more = has_more or any(True for _ in child.parameters())
        if has_more:
            found.append((tuple(parts), first))
        module, path = following, f"{first}."
    yield from reversed(found)


def is_exact(cut: Cut, classifier: Classifier, images: Tensor) -> bool:
    """Return whether both halves together compute the backbone's features, and its gradients.

    Gradients show what the features hide where a branch of the network begins with zeros.
    """
    expected = classifier.backbone(images)
    try:
        with torch.no_grad():
            activations = cut.front(images)
        if len(activations) != len(images):
            return False
        found = cut.tail(classifier, activations.shape[1:]).features(activations.flatten(1))
        if not is_close(found, expected, SAME):
            return False
        learning = [parameter for parameter in classifier.backbone.parameters() if parameter.requires_grad]
        pull = torch.linspace(-1, 1, expected.numel(), device=expected.device).view_as(expected)
        gradients = [
            torch.autograd.grad(features, learning, pull, allow_unused=True) for features in (found, expected)
        ]
    except Exception as error:
        # Networks have many ways of not running in halves; each means that it is not cut there.
        log.debug("%s cannot be cut before %s: %s", classifier.backbone.name, cut.before, error)
        return False
    return all(
        one is other or (one is not None and other is not None and is_close(one, other, SAME_GRADIENT))
        for one, other in zip(*gradients, strict=True)
    )


def is_close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Return whether two tensors differ by at most so much, relative to the largest number."""
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())
