"""Temperature scaling (Guo et al. 2017): probabilities as high as accuracies."""

import logging

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

log = logging.getLogger(__name__)

HIGHEST = 100.0  # Probabilities are nearly equal there: the loss decreases towards an infinite temperature.


def expected_calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """Return the mean gap between confidence and accuracy, 0 to 1, over 15 equal bins (Guo et al. 2017).

    `probabilities` `[N, C]`, `labels` `[N]`; a bin counts by its number of images.
    """
    classes = probabilities.shape[1]
    return float(multiclass_calibration_error(probabilities, labels, classes, n_bins=15, norm="l1"))


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature that minimises the cross-entropy of `logits / temperature`.

    `logits` `[N, C]`, `labels` `[N]`. It is 1, with a warning, where there is no minimum: where every image
    is classified correctly, the loss keeps decreasing towards temperature 0.
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
            "calibrate: %d validation images, all classified correctly or none better than by chance, "
            "determine no temperature; 1 is taken.",
            len(labels),
        )
        return 1.0
    return temperature
