"""A temperature makes probabilities honest without changing a label."""

from pathlib import Path

import numpy as np
import pytest
import torch

from graft import load
from graft.models.checkpoints import read_checkpoint
from graft.tasks.metrics import expected_calibration_error
from graft.training.calibration import fit_temperature, keep_temperature


def overconfident(count: int, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are `temperature` times as far apart as the labels drawn from them deserve."""
    chance = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, 4, generator=chance)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=chance).squeeze(1)
    return logits * temperature, labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_applied_is_found(temperature: float) -> None:
    logits, labels = overconfident(20_000, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


def test_no_other_temperature_has_a_lower_loss() -> None:
    logits, labels = overconfident(300, 2.5)
    best = fit_temperature(logits, labels)

    def loss(temperature: float) -> float:
        return torch.nn.functional.cross_entropy(logits.double() / temperature, labels).item()

    assert loss(best) < min(loss(best * 1.01), loss(best / 1.01))


def test_calibration_lowers_the_error() -> None:
    logits, labels = overconfident(20_000, 3.0)
    calibrated = (logits / fit_temperature(logits, labels)).softmax(dim=1)
    assert expected_calibration_error(logits.softmax(dim=1), labels) > 0.1
    assert expected_calibration_error(calibrated, labels) < 0.02


def test_the_error_is_the_gap_between_confidence_and_accuracy() -> None:
    logits, labels = overconfident(1000, 2.0)
    shares = logits.softmax(dim=1).double().numpy()
    confidence, is_right = shares.max(axis=1), shares.argmax(axis=1) == labels.numpy()
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = [
        abs(confidence[bins == b].mean() - is_right[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    ]
    assert expected_calibration_error(logits.softmax(dim=1), labels) == pytest.approx(sum(gaps), abs=1e-6)


@pytest.mark.parametrize("labels", [[0, 1], [1, 0]], ids=["all right", "all wrong"])
def test_where_no_temperature_is_best_none_is_applied(
    caplog: pytest.LogCaptureFixture, labels: list[int]
) -> None:
    assert fit_temperature(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor(labels)) == 1.0
    assert "determine no temperature" in caplog.text


def test_predictions_use_the_temperature_in_the_checkpoint(images: Path, checkpoint: Path) -> None:
    paths = sorted((images / "light").iterdir())
    before = load(checkpoint).predict(paths)
    weights = read_checkpoint(checkpoint)["state_dict"]
    keep_temperature(checkpoint, 2.0)
    after = load(checkpoint).predict(paths)
    assert [p.label for p in after] == [p.label for p in before]
    logits = torch.tensor([p.probabilities for p in before]).log()
    expected = (logits / 2).softmax(dim=1)
    torch.testing.assert_close(torch.tensor([p.probabilities for p in after]), expected)
    kept = read_checkpoint(checkpoint)["state_dict"]
    assert all(torch.equal(kept[name], value) for name, value in weights.items())
