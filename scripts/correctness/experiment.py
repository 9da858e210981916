"""One frozen run and what to look at in it: the same weights, images and order for every way to freeze."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from graft.data.images import open_rgb
from graft.data.resizing import with_image_size
from graft.data.sources.elpv import read_labels
from graft.data.transforms import evaluation_transform
from graft.models.backbones import Backbone, build_backbone

IMAGES = 64
SIZE = 96  # pixels
BATCH_SIZE = 16
CLASSES = 2
FROZEN_EPOCHS = 2
EPOCHS = 4
RESUMED_AFTER = 3  # epochs, so one after the unfreezing
LEARNING_RATE = 1e-3


def pretrained_backbone() -> Backbone:
    """Return EfficientNet-Lite0 with the packaged weights, without its classification layer."""
    return build_backbone("packaged", "efficientnet_lite0")


@cache
def solar_cells() -> TensorDataset:
    """Return images `[64, 3, 96, 96]` of as many intact as broken cells, and their labels, in turn."""
    labels = read_labels()
    intact = [path for path, probability, _ in labels if probability == 0][: IMAGES // CLASSES]
    broken = [path for path, probability, _ in labels if probability == 1][: IMAGES // CLASSES]
    transform = evaluation_transform(with_image_size(pretrained_backbone().preprocessing, SIZE))
    paths = [path for pair in zip(intact, broken, strict=True) for path in pair]
    images = torch.stack([transform(open_rgb(path)) for path in paths])
    return TensorDataset(images, torch.arange(CLASSES).repeat(IMAGES // CLASSES))


def batches() -> DataLoader[tuple[Tensor, ...]]:
    """Return the batches, in the same order every epoch: no way to freeze may differ by chance."""
    return DataLoader(solar_cells(), BATCH_SIZE)


@dataclass
class Trained:
    """What a run leaves."""

    network: nn.Module
    backbone: nn.Module
    optimized: list[Tensor]  # the tensors in the optimizer's groups
    gap: float  # see `FirstBatch`


# Trains in a folder, for so many epochs, from the folder's checkpoint after so many epochs (None: afresh).
Train = Callable[[Path, int, int | None], Trained]


@dataclass(frozen=True)
class Way:
    """A way to train a head on a frozen backbone, and perhaps to unfreeze that after `FROZEN_EPOCHS`."""

    name: str
    train: Train
    unfreezes: bool = True
    needs: str | None = None  # a package that Graft does not depend on


@dataclass
class FirstBatch:
    """Measures how far the features that the head is trained on are from those in evaluation.

    The largest difference in the first batch, between the backbone as training has set it and a
    copy of it in evaluation mode.
    """

    backbone: nn.Module
    gap: float = float("nan")
    evaluated: Tensor | None = None
    handles: list[torch.utils.hooks.RemovableHandle] = field(default_factory=list)

    def __post_init__(self) -> None:
        twin = copy.deepcopy(self.backbone)
        self.handles.append(
            self.backbone.register_forward_pre_hook(lambda _, given: self.before(twin, given))
        )
        self.handles.append(self.backbone.register_forward_hook(lambda _, __, features: self.after(features)))

    @torch.no_grad()
    def before(self, twin: nn.Module, given: tuple[Tensor, ...]) -> None:
        """Evaluate the batch with a copy."""
        self.evaluated = twin.eval()(*given)

    def after(self, features: Tensor) -> None:
        """Compare, and stop looking."""
        assert self.evaluated is not None
        self.gap = (features.detach() - self.evaluated).abs().max().item()
        for handle in self.handles:
            handle.remove()


@dataclass(frozen=True)
class Observation:
    """What was seen of one way to freeze."""

    buffers: tuple[int, int]  # changed, all
    parameters: tuple[int, int]  # changed, all
    change: float  # the largest, of any number in the backbone
    features: float  # the largest change of the images' features, in evaluation mode
    gap: float  # see `FirstBatch`
    lost: tuple[int, int] | None  # trainable tensors in no group, all trainable tensors; after unfreezing
    resumed: str


def observe(way: Way) -> Observation:
    """Train frozen; then through the unfreezing, stopped and gone on with, and not stopped."""
    before = pretrained_backbone().network
    with TemporaryDirectory() as folder:
        frozen = way.train(Path(folder), FROZEN_EPOCHS, None)
        if not way.unfreezes:
            resumed = way.train(Path(folder), FROZEN_EPOCHS, FROZEN_EPOCHS - 1)
            comparison, lost = f"{compare(frozen, resumed)}, frozen (has no unfreezing)", None
    if way.unfreezes:
        with TemporaryDirectory() as folder:
            whole = way.train(Path(folder), EPOCHS, None)
            resumed = way.train(Path(folder), EPOCHS, RESUMED_AFTER)
            comparison, lost = compare(whole, resumed), lost_parameters(whole)
    parameters = changes(before.parameters(), frozen.backbone.parameters())
    buffers = changes(before.buffers(), frozen.backbone.buffers())
    return Observation(
        buffers=(sum(change > 0 for change in buffers), len(buffers)),
        parameters=(sum(change > 0 for change in parameters), len(parameters)),
        change=max(parameters + buffers),
        features=(features(before) - features(frozen.backbone)).abs().max().item(),
        gap=frozen.gap,
        lost=lost,
        resumed=comparison,
    )


def changes(before: Iterable[Tensor], after: Iterable[Tensor]) -> list[float]:
    """Return the largest change of each tensor; counts of batches (integers) count as 0 or 1."""
    found = []
    for old, new in zip(before, after, strict=True):
        difference = (new.detach() - old.detach()).abs().max().item()
        found.append(float(difference) if old.is_floating_point() else float(difference > 0))
    return found


@torch.inference_mode()
def features(backbone: nn.Module) -> Tensor:
    """Return the features of all images in evaluation mode.

    Computed by a network of their own, since another memory layout rounds otherwise.
    """
    network = pretrained_backbone().network.eval()
    network.load_state_dict(backbone.state_dict())
    return torch.cat([network(images) for images, _ in batches()])


def lost_parameters(trained: Trained) -> tuple[int, int]:
    """Return how many trainable tensors are in no group of the optimizer, and how many there are."""
    optimized = {id(parameter) for parameter in trained.optimized}
    trainable = [parameter for parameter in trained.network.parameters() if parameter.requires_grad]
    return sum(id(parameter) not in optimized for parameter in trainable), len(trainable)


def compare(whole: Trained, resumed: Trained) -> str:
    """Say whether a resumed run ended with the numbers of one that was not stopped, and what is amiss."""
    largest = max(changes(whole.network.state_dict().values(), resumed.network.state_dict().values()))
    if largest == 0:
        return "equal"
    frozen = [
        sum(not parameter.requires_grad for parameter in run.backbone.parameters())
        for run in (whole, resumed)
    ]
    amiss = f"not equal (up to {largest:.2g})"
    if frozen[0] != frozen[1]:
        amiss += f": {frozen[1]} of {len(list(resumed.backbone.parameters()))} backbone tensors still frozen"
    return amiss
