"""Builds Lightning's Trainer from the settings, and refuses what this machine cannot do."""

import logging
import os
import warnings
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import LearningRateMonitor, ProgressBar

from graft.errors import UserError, import_extra
from graft.models.checkpoints import AtomicCheckpointIO
from graft.training.callbacks.early_stopping import EndConvergedPhase
from graft.training.callbacks.predictions import KeepPredictions
from graft.training.callbacks.reproducibility import SeedEachEpoch
from graft.training.callbacks.speed import ImagesPerSecond

log = logging.getLogger(__name__)

# Warnings about what Graft does on purpose; every other warning is shown.
DELIBERATE = (
    ".*module\\(s\\) in eval mode at the start of training.*",  # Frozen parts stay in eval mode.
    ".*does not have many workers.*",  # Their number is chosen by graft.data.
    ".*number of training batches.*is smaller than the logging interval.*",  # Small data sets.
    ".*exists and is not empty.*",  # A resumed run may go on in its own folder.
    ".*experiment logs directory.*exists.*",
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",  # Lightning's own use of torch.
)

LOGGER_EXTRAS = ("wandb", "mlflow")  # Loggers whose package comes with an extra of the same name.


def build_trainer(settings: dict[str, Any]) -> L.Trainer:
    """Return the Trainer for this machine.

    Raises UserError for devices that are not there, and for arguments or a precision that cannot be used.
    """
    for message in DELIBERATE:
        warnings.filterwarnings("ignore", message)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # The header says it already.
    options = dict(settings["trainer"])
    accelerator = resolve_accelerator(options["accelerator"])
    check_devices(options["accelerator"], accelerator, options["devices"])
    precision = resolve_precision(str(options["precision"]), accelerator)
    # An entry set to null is left out.
    for name in LOGGER_EXTRAS:
        if settings["logger"].get(name):
            import_extra(name, name)
    loggers = [instantiate(entry) for entry in settings["logger"].values() if entry]
    callbacks = [instantiate(entry) for entry in settings["callbacks"].values() if entry]
    if not loggers:  # LearningRateMonitor refuses to run without one.
        callbacks = [callback for callback in callbacks if not isinstance(callback, LearningRateMonitor)]
    trainer: L.Trainer = instantiate(
        options,
        precision=precision,
        callbacks=[
            *callbacks,
            SeedEachEpoch(settings["seed"]),
            EndConvergedPhase(),
            KeepPredictions(),
            ImagesPerSecond(),
        ],
        logger=loggers or False,
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        enable_model_summary=False,  # graft.training.summary
        use_distributed_sampler=False,  # graft.data.dataset has samplers that know the processes.
        default_root_dir=settings["paths"]["run"],
        _convert_="all",
    )
    return trainer


def resolve_accelerator(accelerator: str) -> str:
    """Return the accelerator that `auto` means here: cuda, mps or cpu; others as they are."""
    if accelerator in ("auto", "gpu"):
        if torch.cuda.is_available():
            return "cuda"
        if torch.backends.mps.is_available():
            return "mps"
        if accelerator == "gpu":
            raise UserError("trainer.accelerator=gpu, but this machine has no GPU that torch can use.")
        return "cpu"
    return accelerator


def check_devices(asked: str, accelerator: str, devices: int | str | list[int]) -> None:
    """Raise UserError where more devices are asked for than there are.

    CPU processes are only started where `accelerator=cpu` asks for them, at most one per core.
    """
    if accelerator not in ("cpu", "cuda", "mps"):
        return
    if accelerator == "cuda":
        available = torch.cuda.device_count()
    else:
        available = (os.cpu_count() or 1) if asked == "cpu" else 1
    count = len(devices) if isinstance(devices, list) else devices
    if isinstance(count, int) and count > available:
        raise UserError(
            f"trainer.devices={devices}: this machine has {available} device(s) for "
            f"trainer.accelerator={asked} ({accelerator}); write trainer.devices=auto."
        )


def resolve_precision(precision: str, accelerator: str) -> str:
    """Return the precision that `auto` means here, and warn where the CPU only emulates one.

    auto is bf16-mixed on GPUs that compute in it, 16-mixed on older ones, 32 elsewhere.
    Raises UserError for float16 on a CPU.
    """
    if precision == "auto":
        if accelerator != "cuda":
            return "32-true"
        return "bf16-mixed" if torch.cuda.get_device_capability()[0] >= 8 else "16-mixed"
    if accelerator == "cpu" and precision.startswith("16"):
        raise UserError(f"trainer.precision={precision} is not for CPUs: write trainer.precision=32.")
    if accelerator == "cpu" and precision.startswith("bf16"):
        slowdown = bfloat16_slowdown()
        if slowdown > 1:
            log.warning(
                "trainer.precision=%s: this CPU emulates bfloat16, a convolution takes %.1f times as long as "
                "in 32 bits; trainer.precision=32 is faster.",
                precision,
                slowdown,
            )
    return precision


def bfloat16_slowdown() -> float:
    """Return how many times as long a small convolution takes in bfloat16 as in float32, measured."""
    from torch.utils.benchmark import Timer  # Takes a while to import.

    def seconds(dtype: torch.dtype) -> float:
        convolution = torch.nn.Conv2d(32, 32, 3).to(dtype)
        images = torch.zeros(4, 32, 64, 64, dtype=dtype)
        with torch.inference_mode():
            return Timer("run(images)", globals={"run": convolution, "images": images}).timeit(3).median

    return seconds(torch.bfloat16) / seconds(torch.float32)
