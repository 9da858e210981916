"""Engines give the outputs of PyTorch, or are refused; `auto` takes the fastest that pays."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from graft.errors import UserError
from graft.models.engines import choice
from graft.models.engines.choice import EngineError, choose_engine, converted

ENGINES = ("openvino", "onnxruntime")


def tiny() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers).eval().requires_grad_(False)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_gives_the_same_outputs_for_any_number_of_images_in_several_threads(engine: str) -> None:
    network = tiny()
    run = converted(engine, network, torch.randn(5, 3, 16, 16), streams=2)
    batches = [torch.randn(size, 3, 16, 16) for size in (1, 4, 7, 3)]
    with ThreadPoolExecutor(2) as pool:
        for images, output in zip(batches, pool.map(run, batches), strict=True):
            assert torch.allclose(output, network(images), atol=1e-5)


class OfBatch(nn.Module):
    """Gives outputs that depend on the number of images, which a traced graph takes for a constant."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) + len(images)


class Refusing(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        if len(images) < 3:
            raise ValueError("batches are too small")
        return images.mean((2, 3))


@pytest.mark.parametrize(
    ("network", "reason"), [(OfBatch(), r"differ by \d"), (Refusing(), r"cannot run this network \(.+\)")]
)
def test_an_engine_that_gives_other_outputs_or_none_is_refused(network: nn.Module, reason: str) -> None:
    with pytest.raises(EngineError, match=reason):
        converted("openvino", network, torch.randn(3, 3, 8, 8), streams=1)


@pytest.mark.parametrize(
    ("images", "stored", "chosen"),
    [(999, (), "torch"), (1000, (), "openvino"), (1000, ("torch",), "torch"), (1, ("openvino",), "openvino")],
)
def test_auto_converts_where_it_pays_and_goes_on_with_what_is_stored(
    images: int, stored: tuple[str, ...], chosen: str
) -> None:
    assert choose_engine("auto", images, lambda name: name in stored)[0] == chosen


def test_an_engine_that_is_not_installed_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "is_installed", lambda name: name == "torch")
    assert choose_engine("auto", 10**6, lambda _: False)[0] == "torch"
    with pytest.raises(UserError, match=r"openvino is not installed.*\.\[export\]"):
        choose_engine("openvino", 10**6, lambda _: False)
