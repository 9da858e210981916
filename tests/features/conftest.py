# room: features
"""A network with known weights, and a count of the images that go through it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from graft.models.backbones import Backbone, build_backbone

RUNS: list[int] = []  # images that went through a backbone, batch by batch


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count the images that go through any backbone."""
    forward = Backbone.forward_with_auxiliary

    def counted(self: Backbone, images: torch.Tensor) -> Any:
        if not images.is_meta:  # Trials of sizes compute nothing.
            RUNS.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(Backbone, "forward_with_auxiliary", counted)
    # Folding tries a few images of noise, which are not counted.
    monkeypatch.setattr("graft.features.cache.folded", lambda backbone, _: backbone)
    RUNS.clear()
    yield RUNS
    RUNS.clear()


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """The overrides of a network whose random weights are the same in every run."""
    torch.manual_seed(7)
    network = build_backbone("timm", "test_efficientnet", None).network
    file = tmp_path / "weights.pth"
    torch.save(network.state_dict() | {"classifier.weight": torch.zeros(1000, 256)}, file)
    return f"model.weights={file}"
