"""Which of Lightning's Trainer arguments a run takes, and why it refuses the others."""

from collections.abc import Mapping
from typing import Any

from graft.errors import UserError

# Lightning does with these what its documentation says.
TAKEN = [
    "accelerator",
    "accumulate_grad_batches",
    "benchmark",
    "detect_anomaly",
    "deterministic",
    "devices",
    "enable_autolog_hparams",
    "fast_dev_run",
    "gradient_clip_algorithm",
    "gradient_clip_val",
    "inference_mode",
    "limit_test_batches",
    "limit_train_batches",
    "limit_val_batches",
    "log_every_n_steps",
    "max_epochs",
    "max_steps",
    "max_time",
    "min_epochs",
    "min_steps",
    "num_nodes",
    "num_sanity_val_steps",
    "precision",
    "profiler",
    "strategy",
    "sync_batchnorm",
]  # `fast_dev_run` by `with_few_batches`

# Every other argument may only have the first value here; why, and what to write instead.
REFUSED: dict[str, tuple[object, str]] = {
    "barebones": (False, "it switches off the checkpoints that a run tests; write logger=none report=false"),
    "callbacks": (None, "callbacks are entries of configs/callbacks: +callbacks.NAME._target_=CLASS"),
    "check_val_every_n_epoch": (1, "every epoch is validated once, at its end, for the best checkpoint"),
    "default_root_dir": (None, "the run's folder is hydra.run.dir=DIR"),
    "enable_checkpointing": (True, "the best checkpoint is tested in the end"),
    "enable_model_summary": (False, "the header says what is trainable"),
    "enable_progress_bar": (False, "the progress bar is callbacks.progress; callbacks.progress=null: none"),
    "limit_predict_batches": (None, "a run predicts nothing; scripts/predict.py does"),
    "logger": (None, "loggers are the group logger: logger=wandb, logger=none"),
    "model_registry": (None, "checkpoints are files in the run's folder"),
    "overfit_batches": (0.0, "every epoch draws its batches anew; write data.limit=32 augmentation=none"),
    "plugins": (None, "Graft's own plugin writes the checkpoints"),
    "reload_dataloaders_every_n_epochs": (0, "the loaders are the same in every epoch"),
    "use_distributed_sampler": (False, "Graft's samplers know the processes"),
    "val_check_interval": (1.0, "every epoch is validated once, at its end, for the best checkpoint"),
}

# The others start processes from an interpreter that has the run's state already, or divide the
# parameters, which freezing, checkpoints and cached features need whole.
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true")


def check_trainer_options(options: Mapping[str, Any]) -> None:
    """Raise a UserError for a Trainer argument that a run cannot take, with what to write instead."""
    for name, (allowed, reason) in REFUSED.items():
        value = options.get(name)
        # The whole number 1 would be every batch, where 1.0 is every epoch.
        if value is not None and (value != allowed or (type(value) is not type(allowed) and value != 0)):
            raise UserError(f"trainer.{name}={value}: {reason}.")
    strategy = options.get("strategy", "auto")
    if strategy not in STRATEGIES:
        raise UserError(f"trainer.strategy={strategy}: write one of {', '.join(STRATEGIES)}.")
    for split in ("train", "val"):
        if options.get(f"limit_{split}_batches", 1.0) == 0:
            raise UserError(
                f"trainer.limit_{split}_batches=0: a run trains and picks its best checkpoint by validation."
            )


def with_few_batches(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options; `fast_dev_run=n` becomes n batches of each split in every epoch.

    Lightning's own switches off loggers and checkpoints, and then there is nothing to test.
    """
    found = dict(options)
    number = found.pop("fast_dev_run", False)
    if number:
        found |= {f"limit_{split}_batches": int(number) for split in ("train", "val", "test")}
    return found
