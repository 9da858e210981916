# room: recipes
"""The features that the heads of a recipe are fitted to."""

import logging
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from graft.data.labelled_images import read_labelled_images
from graft.recipes.heads import HeadSearch
from graft.training.building import build_task
from graft.training.trainer import build_trainer
from tests.conftest import MakeConfig


def search_of(config: DictConfig) -> HeadSearch:
    settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    images = read_labelled_images(settings["data"], build_task(settings["task"]))
    return HeadSearch(settings, images, build_trainer(settings | {"logger": {}}), ending=10.0)


class Pair(nn.Sequential):
    """A block of two layers that returns two maps."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        return maps, super().forward(maps)


class Pairs(nn.Module):
    """A network whose stages have no single output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second, self.third = nn.Conv2d(3, 4, 3), Pair(), Pair(), Pair()

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        for block in (self.first, self.second, self.third):
            _, maps = block(maps)
        return maps.mean((2, 3))


def test_a_network_without_outputs_of_its_stages_has_its_own_features_alone(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "graft")

    search = search_of(make_config("model=own", f"model._target_={__name__}.Pairs"))

    assert (search.own, search.most) == (1, 1)
    assert "only the network's own features are used: model.stages=3: a stage of Pairs" in caplog.text
