"""Temperature scaling: makes a trained classifier's probabilities mean what they say (Guo et al. 2017)."""

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from graft.data.module import ImageFolderDataModule
from graft.inference.evaluation import measure, scored
from graft.inference.runtimes import load_model
from graft.models.checkpoints import DESCRIPTION, AtomicCheckpointIO, read_checkpoint

log = logging.getLogger(__name__)

HIGHEST = 100.0  # Probabilities are all but equal there: the loss falls towards an infinite temperature.


def calibrate(checkpoint: Path, data: ImageFolderDataModule) -> dict[str, float]:
    """Fit the temperature on the validation split and keep it in the checkpoint.

    Returns it with the calibration errors before and after: val/ece, val/ece_calibrated, test/ece, ...
    """
    model = load_model(checkpoint)
    outputs = {
        split: scored(model, data.root, data.samples[split], data.batch_size) for split in ("val", "test")
    }
    temperature = fit_temperature(*outputs["val"])
    keep_temperature(checkpoint, temperature)
    found = {"temperature": temperature}
    for split, (logits, labels) in outputs.items():
        measured = measure(logits, labels, temperature)
        found |= {f"{split}/{name}": measured[name] for name in ("ece", "ece_calibrated")}
    return found


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature that minimises the cross-entropy of `logits / temperature`.

    `logits` `[N, num_classes]`, `labels` `[N]`. It is 1, with a warning, where there is no minimum: where
    every picture is classified right, the loss goes on falling towards temperature 0.
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
            "calibrate: %d validation pictures, all classified right or none better than by chance, "
            "determine no temperature; 1 is taken.",
            len(labels),
        )
        return 1.0
    return temperature


def keep_temperature(checkpoint: Path, temperature: float) -> None:
    """Write the temperature into the checkpoint, in one step; predictions then use it."""
    content = read_checkpoint(checkpoint)
    content[DESCRIPTION]["temperature"] = temperature
    AtomicCheckpointIO().save_checkpoint(content, checkpoint)
