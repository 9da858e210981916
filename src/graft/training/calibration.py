"""Temperature scaling: makes a trained classifier's probabilities mean what they say (Guo et al. 2017)."""

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from graft.models.checkpoints import DESCRIPTION, read_checkpoint, save_atomically
from graft.tasks.metrics import expected_calibration_error
from graft.training.callbacks.predictions import Predictions

log = logging.getLogger(__name__)

HIGHEST = 100.0  # Probabilities are all but equal there: the loss falls towards an infinite temperature.


def calibrate(checkpoint: Path, validation: Predictions, test: Predictions) -> dict[str, float]:
    """Fit the temperature to the validation's logits and keep it in the checkpoint.

    Returns it with the calibration errors before and after: val/ece, val/ece_calibrated, test/ece, ...
    """
    temperature = fit_temperature(validation.logits, validation.labels)
    keep_temperature(checkpoint, temperature)
    found = {"temperature": temperature}
    for split, kept in (("val", validation), ("test", test)):
        calibrated = (kept.logits / temperature).softmax(dim=1)
        found[f"{split}/ece"] = expected_calibration_error(kept.probabilities, kept.labels)
        found[f"{split}/ece_calibrated"] = expected_calibration_error(calibrated, kept.labels)
    return found


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature that minimises the cross-entropy of `logits / temperature`.

    `logits` `[N, num_classes]`, `labels` `[N]`. It is 1, with a warning, where there is no minimum: where
    every image is classified right, the loss goes on falling towards temperature 0.
    """
    logits = logits.double()
    sharpness = torch.zeros((), dtype=torch.float64, requires_grad=True)  # the logarithm of 1 / temperature
    optimizer = torch.optim.LBFGS([sharpness], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(logits * sharpness.exp(), labels)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    temperature = float((-sharpness.detach()).exp())
    if bool((logits.argmax(dim=1) == labels).all()) or not temperature < HIGHEST:
        log.warning(
            "calibrate: %d validation images, all classified right or none better than by chance, "
            "determine no temperature; 1 is taken.",
            len(labels),
        )
        return 1.0
    return temperature


def keep_temperature(checkpoint: Path, temperature: float) -> None:
    """Write the temperature into the checkpoint, in one step; predictions then use it."""
    content = read_checkpoint(checkpoint)
    content[DESCRIPTION]["temperature"] = temperature
    save_atomically(content, checkpoint)
