"""Whether storing activations saves time, by arithmetic: the same answer on every run, also a resumed one."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from graft.features.views import Views

# Rates that make storing look rather worse than it is.
OPERATIONS = {"cpu": 1e11}  # floating-point operations a second that a device does ...
OPERATIONS_OF_ACCELERATORS = 1e13  # ... which is not the processor
DECODING = 1e-3  # seconds that opening, resizing and augmenting a image takes
READING = 2e8  # bytes a second that are read from or written to the folder of features
# Stored views take the place of fresh augmentation, so they have to save a good part of the time.
WORTH = 0.5


@dataclass(frozen=True)
class Estimate:
    """What storing the activations of a phase takes."""

    row: int  # bytes of one view
    size: float  # gigabytes of all
    with_rows: float  # seconds to make, write and read them in all epochs
    with_images: float  # seconds of the same part of the network, from images in every epoch

    @property
    def pays(self) -> bool:
        """Whether storing saves enough."""
        return self.with_rows <= WORTH * self.with_images

    def __str__(self) -> str:
        return (
            f"{self.row / 1e3:.3g} kB a view, {self.size:.2g} GB in all, about {self.with_rows:.2g} s "
            f"instead of {self.with_images:.2g} s"
        )


def estimate(
    views: Mapping[str, Views], epochs: int, row: int, operations: int, device: torch.device
) -> Estimate:
    """Return what storing takes: rows of so many bytes, each made by so many floating-point operations.

    The test split is left out of the seconds: it is read once either way.
    """
    rate = OPERATIONS.get(device.type, OPERATIONS_OF_ACCELERATORS)
    image = DECODING + operations / rate
    again = epochs * sum(len(views[split].labels) for split in ("train", "val"))
    made = sum(len(views[split]) for split in ("train", "val"))
    return Estimate(
        row=row,
        size=sum(map(len, views.values())) * row / 1e9,
        with_rows=made * (image + row / READING) + again * row / READING,
        with_images=again * image,
    )


@torch.no_grad()
def operations_of(network: nn.Module, image: Tensor) -> int:
    """Return the floating-point operations that a network takes for one image `[1, 3, H, W]`."""
    with FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops()
