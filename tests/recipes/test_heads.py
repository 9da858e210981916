# room: recipes
"""The features that the heads of a recipe are fitted to."""

import errno
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from graft.data.cache_folders import cache_folders
from graft.data.labelled_images import read_labelled_images
from graft.features.store import KEY, FeatureStore
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


def test_only_the_rows_of_this_run_are_shared(make_config: MakeConfig, tmp_path: Path) -> None:
    search = search_of(make_config())
    wide = search.features(1)["train"].store
    own, other = wide.segments[0].keys, np.array([b"another data set"], KEY)
    wide.add(other, np.zeros((1, wide.width)))
    wide.refresh()

    search.share_features(1)

    folders = [found.path for found in cache_folders(tmp_path / "cache" / "features")]
    (folder,) = set(folders) - {wide.folder}
    shared = FeatureStore(folder, search.narrow.num_features, str(wide.dtype))
    assert not shared.misses(own)
    assert shared.misses(other)
    rows = shared.read(shared.locate(own))
    assert np.array_equal(rows, wide.read(wide.locate(own))[:, -shared.width :])


def test_features_that_cannot_be_shared_end_no_run(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "graft")
    search = search_of(make_config())
    search.features(1)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FeatureStore, "add", full)
    search.share_features(1)

    assert "the features of fewer stages are not stored: [Errno 28] No space left" in caplog.text
