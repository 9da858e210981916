"""The predictions of a test are those of the whole split, in its order."""

import json
from pathlib import Path

import lightning as L
import pytest
import torch

from graft.training.callbacks.predictions import KeepPredictions, interleaved
from tests.conftest import MakeConfig
from tests.conftest import trained as train


def test_processes_are_put_together_in_the_splits_order() -> None:
    whole = torch.arange(14).reshape(7, 2)
    assert interleaved(tuple(whole[rank::3] for rank in range(3))).equal(whole)


def test_what_is_kept_gives_the_metrics_of_the_run(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[KeepPredictions] = []
    ends = L.Trainer.test

    def test(trainer: L.Trainer, *arguments: object, **settings: object) -> object:
        found = ends(trainer, *arguments, **settings)  # type: ignore[arg-type]
        kept.extend(c for c in trainer.callbacks if isinstance(c, KeepPredictions))  # type: ignore[attr-defined]
        return found

    monkeypatch.setattr(L.Trainer, "test", test)
    train(make_config("trainer.max_epochs=1", "data.batch_size=2"))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    predictions = kept[0].last
    assert predictions is not None
    right = predictions.logits.argmax(dim=1) == predictions.targets
    assert len(right) == 4
    assert right.double().mean().item() == pytest.approx(metrics["test/accuracy"], abs=1e-6)
    loss = torch.nn.functional.cross_entropy(predictions.logits, predictions.targets)
    assert loss.item() == pytest.approx(metrics["test/loss"], abs=1e-5)
