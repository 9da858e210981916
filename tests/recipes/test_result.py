# room: recipes
"""What the last step of a recipe reads."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from graft.recipes.fine_tuning import WEIGHTS
from graft.recipes.result import candidate
from graft.training.callbacks.predictions import VALIDATION


def test_what_an_epoch_on_a_gpu_has_left_is_read_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = {WEIGHTS: {"weight": torch.ones(2)}}
    saved[VALIDATION] = {"logits": torch.zeros(1, 2), "targets": torch.zeros(1)}
    with monkeypatch.context() as patch:
        patch.setattr("torch.serialization.location_tag", lambda storage: "cuda:0")
        torch.save(saved, tmp_path / "3.pt")
    fitted: Any = SimpleNamespace(history={"val/loss": {3: 0.5}})

    found = candidate(fitted, tmp_path, 3)

    assert found.weights["weight"].device.type == "cpu"
    assert found.metrics == {"val/loss": 0.5}
