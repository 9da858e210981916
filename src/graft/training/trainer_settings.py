"""The settings of Lightning's Trainer, declared: what a run takes, and why it refuses the rest."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from graft.errors import UserError
from graft.settings import MOST, Count, CountOrZero, PositiveNumber, TargetSettings, Words

PartOfBatches = Count | Annotated[float, Field(gt=0, le=1)]
Devices = Annotated[
    Literal["auto", -1] | Count | Annotated[list[CountOrZero], Field(min_length=1)],
    Words("auto, a whole number of 1 or more, or a list of device numbers such as [0,1]"),
]
Time = Annotated[str, Field(pattern=r"^\d+:\d\d:\d\d:\d\d$")]

# Arguments that may only have the first value here; why, and what to write instead.
REFUSED: dict[str, tuple[object, str]] = {
    "barebones": (False, "it switches off the checkpoints that a run tests; write logger=none report=false"),
    "callbacks": (None, "callbacks are entries of configs/callbacks: +callbacks.NAME._target_=CLASS"),
    "check_val_every_n_epoch": (1, "every epoch is validated once, at its end, for the best checkpoint"),
    "default_root_dir": (None, "the run's folder is hydra.run.dir=DIR"),
    "enable_checkpointing": (True, "the best checkpoint is tested in the end"),
    "enable_model_summary": (False, "the header says what is trainable"),
    "enable_progress_bar": (False, "the progress bar is callbacks.progress; callbacks.progress=null: none"),
    "fast_dev_run": (False, "it switches off the checkpoints; write trainer=debug"),
    "limit_predict_batches": (None, "a run predicts nothing; scripts/predict.py does"),
    "logger": (None, "loggers are the group logger: logger=wandb, logger=none"),
    "model_registry": (None, "checkpoints are files in the run's folder"),
    "overfit_batches": (0.0, "every epoch draws its batches anew; write data.limit=32 augmentation=none"),
    "plugins": (None, "Graft's own plugin writes the checkpoints"),
    "reload_dataloaders_every_n_epochs": (0, "the loaders are the same in every epoch"),
    "use_distributed_sampler": (False, "Graft's samplers know the processes"),
    "val_check_interval": (1.0, "every epoch is validated once, at its end, for the best checkpoint"),
}


class TrainerSettings(TargetSettings):
    """`trainer`. Arguments with a default here may be added with `+trainer.NAME=VALUE`."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"]
    devices: Devices
    # The others start processes from an interpreter that has the run's state already, or divide the
    # parameters, which freezing, checkpoints and cached features need whole.
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true"]
    precision: Literal[
        "auto", 32, "32", "32-true", "16-mixed", "bf16-mixed", "bf16-true", "16-true", 64, "64", "64-true"
    ]
    max_epochs: Count
    max_steps: Literal[-1] | Count
    accumulate_grad_batches: Count
    gradient_clip_val: PositiveNumber | None
    deterministic: bool | Literal["warn"]
    log_every_n_steps: Count
    num_sanity_val_steps: Literal[-1] | CountOrZero
    limit_train_batches: PartOfBatches | None = None
    limit_val_batches: PartOfBatches | None = None
    limit_test_batches: PartOfBatches | None = None
    min_epochs: Count | None = None
    min_steps: Count | None = None
    max_time: (
        Annotated[
            Time | dict[str, CountOrZero], Words("a time such as 00:01:30:00 (days:hours:minutes:seconds)")
        ]
        | None
    ) = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    detect_anomaly: bool = False
    benchmark: bool | None = None
    inference_mode: bool = True
    sync_batchnorm: bool = False
    enable_autolog_hparams: bool = True
    profiler: Literal["simple", "advanced", "pytorch", "xla"] | dict[str, Any] | None = None
    num_nodes: Annotated[int, Field(ge=1, le=MOST)] = 1

    @model_validator(mode="before")
    @classmethod
    def refuse_what_a_run_cannot_take(cls, options: Any) -> Any:
        """Raise a UserError that says what to write instead; leave out what Lightning does anyway."""
        if not isinstance(options, Mapping):
            return options
        for name, (allowed, reason) in REFUSED.items():
            value = options.get(name)
            # The whole number 1 would be every batch, where 1.0 is every epoch.
            if value is not None and (value != allowed or (type(value) is not type(allowed) and value != 0)):
                raise UserError(f"trainer.{name}={value}: {reason}.")
        return {name: value for name, value in options.items() if name not in REFUSED}
