"""Words that people bring from fastai, timm, ultralytics, Keras and Lightning, and what to write here."""

import re
from collections.abc import Callable, Collection

from graft.errors import UserError

# What to write here, then the words for it. {} is the value.
WORDS = {
    "trainer.max_epochs={}": "epoch epochs num_epochs n_epochs nb_epochs n_epoch train_epochs",
    "data.batch_size={}": "batch bs batchsize train_batch_size per_device_train_batch_size",
    "data.image_size={}": "img_size imgsz imagesize size input_size resolution img sz crop_size input_shape",
    "data.num_workers={}": "workers n_workers num_worker dataloader_workers dataloader_num_workers",
    "data.val_fraction={}": "val_split valid_pct validation_split val_pct val_ratio val_size",
    "data.test_fraction={}": "test_split test_pct test_ratio test_size",
    "data=folder data.root={}": (
        "folder dir dataset dataset_dir data_dir data_path datadir train_dir train_data root path images "
        "image_dir source img_dir input"
    ),
    "optimizer.lr={}": "base_lr lr0 max_lr init_lr lr_max",
    "optimizer.weight_decay={}": "wd l2",
    "optimizer={}": "opt optim optimiser",
    "scheduler={}": "sched schedule lr_scheduler lr_schedule cos_lr",
    "augmentation={}": "aug augment augmentations augs transforms auto_augment",
    "model={}": "arch backbone network net architecture model_name encoder base_model",
    "model.weights={}": "weight pretrained_weights weights_file",
    "resume={}": "ckpt ckpt_path checkpoint resume_from resume_from_checkpoint checkpoint_path",
    "hydra.run.dir={}": "output output_dir out out_dir save_dir log_dir logdir logs project exp_name run_dir",
    "head.dropout={}": "drop drop_rate dropout_rate",
    "loss.label_smoothing={}": "smoothing ls",
    "loss.class_weights=balanced": "class_weight weighted",
    "trainer.accumulate_grad_batches={}": "accumulate grad_accum gradient_accumulation_steps",
    "trainer.gradient_clip_val={}": "clip_grad grad_clip clipnorm max_grad_norm gradient_clip",
    "seed={}": "random_state random_seed manual_seed rng",
    "monitor={}": "metric eval_metric monitor_metric metrics",
    "freeze={}": "frozen freeze_backbone freeze_epochs",
}
CLASSES = "classes num_classes n_classes nc num_class class_names num_labels n_out"


def devices(value: str) -> str:
    """Return what to write for a number of GPUs."""
    return "trainer=cpu" if value == "0" else f"trainer=gpu trainer.devices={value}"


def device(value: str) -> str:
    """Return what to write for a device as PyTorch or ultralytics names it."""
    if value in ("cpu", "mps"):
        return "trainer=cpu" if value == "cpu" else "trainer.accelerator=mps"
    number = re.fullmatch(r"(?:(?:cuda|gpu):?)?([0-9,]*)", value)
    if not number:
        return f"trainer.accelerator={value}"
    return f"trainer=gpu trainer.devices=[{number.group(1)}]" if number.group(1) else "trainer=gpu"


def pretrained(value: str) -> str:
    """Return what to write for `pretrained`."""
    chosen = {"false": "null", "0": "null", "no": "null", "true": "default", "1": "default", "yes": "default"}
    return f"model.weights={chosen.get(value.lower(), value)}"


def half(value: str) -> str:
    """Return what to write for mixed precision."""
    return f"trainer.precision={32 if value.lower() in ('false', '0', 'no') else '16-mixed'}"


def bfloat(value: str) -> str:
    """Return what to write for mixed precision in bfloat16."""
    return f"trainer.precision={32 if value.lower() in ('false', '0', 'no') else 'bf16-mixed'}"


RULES: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(("gpus", "gpu", "n_gpus", "num_gpus", "ngpu"), devices),
    **dict.fromkeys(("device", "cuda"), device),
    **dict.fromkeys(("pretrained", "use_pretrained", "imagenet"), pretrained),
    **dict.fromkeys(("fp16", "amp", "half", "mixed_precision", "use_amp", "to_fp16"), half),
    **dict.fromkeys(("bf16", "bfloat16"), bfloat),
}
MEANINGS = {word: meaning for meaning, words in WORDS.items() for word in words.split()}
# The last parts of settings that stand here alone.
LEAVES = {
    "lr": "optimizer.lr={}",
    "batch_size": "data.batch_size={}",
    "image_size": "data.image_size={}",
    "num_workers": "data.num_workers={}",
    "data": "data=folder data.root={}",
}


def translation(argument: str, known: Collection[str]) -> str | None:
    """Return what to write instead of a foreign `word=value`, None for a known or an unheard-of word.

    Raises UserError where nothing is to be written: the classes come from the folder.
    """
    key, equals, value = argument.lstrip("+").partition("=")
    if not equals or key in known:
        return None
    group, _, word = key.lower().replace("-", "_").rpartition(".")
    if group not in ("", "trainer", "model", "data", "train", "dataset", "training", "hparams", "args"):
        return None
    if word in CLASSES.split():
        raise UserError(
            f"there is no setting '{key}': the classes are the folders in data.root; leave it out."
        )
    if word in RULES:
        return RULES[word](value)
    meaning = MEANINGS.get(word) or LEAVES.get(word)
    return meaning.format(value) if meaning else None
