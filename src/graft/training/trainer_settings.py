"""The settings of Lightning's Trainer, declared: those in configs/trainer, and others that can be added."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from graft.settings import MOST, Count, CountOrZero, PositiveNumber, TargetSettings, Text, Words

PartOfBatches = Count | Annotated[float, Field(gt=0, le=1)]
PartOrNothing = CountOrZero | Annotated[float, Field(ge=0, le=1)]
Devices = Annotated[
    Literal["auto", -1] | Count | Annotated[list[CountOrZero], Field(min_length=1)],
    Words("auto, a whole number of 1 or more, or a list of device numbers such as [0,1]"),
]
Time = Annotated[str, Field(pattern=r"^\d+:\d\d:\d\d:\d\d$")]


class TrainerSettings(TargetSettings):
    """`trainer`. Further arguments of the Trainer may be added with `+trainer.NAME=VALUE`."""

    model_config = ConfigDict(extra="allow")
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"]
    devices: Devices
    strategy: Text
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
    # Not in the YAML files, or in one of them only. `trainer_options` refuses what a run cannot take.
    limit_train_batches: PartOfBatches | None = None
    limit_val_batches: PartOfBatches | None = None
    limit_test_batches: PartOrNothing | None = None
    fast_dev_run: bool | CountOrZero = False
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
    profiler: Literal["simple", "advanced", "pytorch", "xla"] | dict[str, Any] | None = None
    num_nodes: Annotated[int, Field(ge=1, le=MOST)] = 1
