"""Networks without memory, caches in a folder of their own, and the order in which layers work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from graft.models.backbones import Backbone, stages

StageOrder = Callable[[Backbone, Tensor], tuple[Tensor, list[int]]]


class WithoutMemory(TorchFunctionMode):
    """Puts parameters on the meta device, but computes block widths, as RegNet does, for real."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.empty, torch.ones, torch.zeros) and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks on tiny images: several threads would mostly wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture
def without_memory() -> WithoutMemory:
    return WithoutMemory()


@pytest.fixture(autouse=True)
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's cache folder of this test alone."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def stage_order() -> StageOrder:
    """Run a network and tell when each stage's first weights are used: rising numbers."""

    def run(backbone: Backbone, images: Tensor) -> tuple[Tensor, list[int]]:
        stage_of = {
            name.rpartition(".")[0]: number
            for number, stage in enumerate(stages(backbone))
            for name in stage.parameters
            # A norm may work on several stages' outputs; a weight matrix is in one place.
            if backbone.get_parameter(name).ndim > 1
        }
        used: list[int] = []
        for path, module in backbone.named_modules():
            # Position embeddings lie in the whole network, which always begins first.
            if path in stage_of and path != "network":
                module.register_forward_pre_hook(lambda *_, number=stage_of[path]: used.append(number))
        features = backbone(images)
        return features, list(dict.fromkeys(used))

    return run
