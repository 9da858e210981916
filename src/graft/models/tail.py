"""What is left of a classifier where the leading parts of its backbone have run already."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graft.models.classifier import Classifier


class Tail:
    """A classifier without the leading parts of its backbone: rows `[B, width] → logits [B, num_classes]`.

    `parts` are their names in the backbone; a row is what the last of them makes of one image, an array of
    `shape`, flattened. All other modules are the classifier's own, so that its parameters, buffers, modes and
    checkpoints are those of the whole network. (No `nn.Module`: as a child, it would be saved a second time.)
    """

    def __init__(self, classifier: Classifier, parts: Sequence[str], shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.is_head = "network" in parts  # whether nothing of the backbone is left
        # Whatever is put into another mode is the original.
        self.copies: list[tuple[nn.Module, nn.Module]] = []
        self.network = self._without(classifier.backbone, parts).get_submodule("network")
        self.head = classifier.head

    def __call__(self, rows: Tensor) -> Tensor:
        """Return logits `[B, num_classes]`."""
        return self.forward_with_auxiliary(rows)[0]

    def forward_with_auxiliary(self, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits, and no others: as `Classifier.forward_with_auxiliary`."""
        for copied, original in self.copies:
            copied.training = original.training
        return self.head(self.features(rows)), []

    def features(self, rows: Tensor) -> Tensor:
        """Return the backbone's features `[B, num_features]`."""
        activations = rows.unflatten(1, self.shape)
        if activations.ndim == 4:
            activations = activations.contiguous(memory_format=torch.channels_last)
        found: Tensor = self.network(activations)
        return found

    def _without(self, module: nn.Module, parts: Sequence[str], path: str = "") -> nn.Module:
        """Return a copy of a container in which the parts do nothing; only containers of parts are copied."""
        copied = copy.copy(module)
        copied._modules = dict(module._modules)
        self.copies.append((copied, module))
        for name, child in module.named_children():
            full = f"{path}{name}"
            if full in parts:
                copied._modules[name] = nn.Sequential()  # Unlike nn.Identity, it can be iterated over, too.
            elif any(part.startswith(f"{full}.") for part in parts):
                copied._modules[name] = self._without(child, parts, f"{full}.")
        return copied
