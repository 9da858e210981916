"""What all engines have in common."""

from collections.abc import Callable

from torch import Tensor

METADATA = "graft"  # the name of Graft's entry, a JSON text, in every exported file

# Runs a network on what it takes, `[B, C, H, W]` on the CPU, and returns its output.
Run = Callable[[Tensor], Tensor]
