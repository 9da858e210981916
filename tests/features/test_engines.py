# room: features
"""Whatever engine computes the features, the head learns the same."""

import logging
import os
from pathlib import Path

import pytest
import torch

from graft.data.cache_folders import cache_folders
from graft.errors import UserError
from graft.features.extraction import computed
from tests.conftest import MakeConfig
from tests.conftest import trained as train


def test_another_engine_has_its_own_features_and_trains_the_same_head(
    make_config: MakeConfig, weights: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "graft"):
        converted = train(make_config(weights, "features.engine=openvino", run="openvino"))
    assert "engine openvino: features.engine=openvino" in caplog.text
    original = train(make_config(weights, "features.engine=torch", run="torch"))
    assert converted["test/loss"] == pytest.approx(original["test/loss"], abs=1e-4)
    engines = {str(f.recipe["engine"]).split()[0] for f in cache_folders(tmp_path / "cache" / "features")}
    assert engines == {"openvino", "torch"}


def test_an_engine_with_other_features_is_replaced_by_torch_or_refused_where_it_was_asked_for(
    make_config: MakeConfig, weights: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    zeros = {"openvino": lambda *_: lambda images: torch.zeros(len(images), 256)}
    monkeypatch.setattr("graft.models.engines.choice.CONVERTED", zeros)
    monkeypatch.setattr("graft.models.engines.choice.WORTH_CONVERTING", 1)
    with caplog.at_level(logging.INFO, "graft"):
        train(make_config(weights, "features.engine=auto"))
    assert "engine openvino is not used: its features differ by 1.0e+00 of the largest" in caplog.text
    monkeypatch.setenv("GRAFT_CACHE", os.environ["GRAFT_CACHE"] + "2")
    with pytest.raises(UserError, match=r"features\.engine=openvino: its features differ by 1\.0e\+00"):
        train(make_config(weights, "features.engine=openvino", run="asked"))


def test_an_engine_that_was_asked_for_and_cannot_compute_in_the_precision_is_refused(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graft.training.trainer.bfloat16_slowdown", lambda: 1.0)
    precise = (
        r"features\.engine=openvino computes in 32 bits on the CPU, not with trainer\.precision=bf16-mixed"
    )
    with pytest.raises(UserError, match=precise):
        train(make_config("features.engine=openvino", "trainer.precision=bf16-mixed"))


@pytest.mark.parametrize("at_once", [1, 3])
def test_batches_come_in_order_however_many_are_computed_at_once(at_once: int) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    used = []

    def extract(images: torch.Tensor) -> torch.Tensor:
        used.append(torch.get_num_threads())
        return images + 1

    batches = [torch.full((2, 1), float(number)) for number in range(20)]
    try:
        outputs = [output[0].item() for output in computed(batches, extract, at_once)]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert outputs == [number + 1 for number in range(20)]
    assert set(used) == {3 // at_once}
