"""One step over a command's arguments before any parser reads them: flags, forms, foreign words, paths."""

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from graft.errors import UserError

TAKES_VALUE = (
    "-c --cfg -p --package -cn --config-name -cp --config-path -cd --config-dir --info --experimental-rerun"
)
ALONE = "-m --multirun -r --run --resolve -sc --shell-completion -h --help --hydra-help --version"
# Settings whose value is one piece of text, whatever characters it has.
TEXTS = (
    *("data.root", "data.file", "data.splits", "cache.dir", "model.weights", "model.name", "resume"),
    *("hydra.run.dir", "hydra.sweep.dir", "paths.logs", "paths.data", "paths.run", "paths.root"),
)
PLAIN = re.compile(r"(?:\.{0,2}/|(?!(?i:inf|nan))[A-Za-z_])[A-Za-z0-9_/.\-]*")  # no number to Hydra
SWEEP_FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort)\(")
# What to write here for words from fastai, timm, ultralytics, Keras and Lightning. {}: the value.
WORDS = {
    "trainer.max_epochs={}": "epoch epochs num_epochs n_epochs nb_epochs n_epoch train_epochs",
    "data.batch_size={}": "batch_size batch bs batchsize train_batch_size per_device_train_batch_size",
    "data.image_size={}": "image_size img_size imgsz imagesize size input_size img sz crop_size input_shape "
    "resolution",
    "data.num_workers={}": "num_workers workers n_workers num_worker dataloader_num_workers "
    "dataloader_workers",
    "data.val_fraction={}": "val_split valid_pct validation_split val_pct val_ratio val_size",
    "data.test_fraction={}": "test_split test_pct test_ratio test_size",
    "data=folder data.root={}": "data folder dir dataset dataset_dir data_dir data_path datadir train_dir "
    "root path train_data images image_dir source img_dir input",
    "optimizer.lr={}": "lr base_lr lr0 max_lr init_lr lr_max",
    "optimizer.weight_decay={}": "wd l2",
    "optimizer={}": "opt optim optimiser",
    "scheduler={}": "sched schedule lr_scheduler lr_schedule cos_lr",
    "augmentation={}": "aug augment augmentations augs transforms auto_augment",
    "model={}": "arch backbone network net architecture model_name encoder base_model",
    "model.weights={}": "weight pretrained_weights weights_file",
    "model.weights={weights}": "pretrained use_pretrained imagenet",
    "resume={}": "ckpt ckpt_path checkpoint resume_from resume_from_checkpoint checkpoint_path",
    "hydra.run.dir={}": "output output_dir out out_dir save_dir log_dir logdir logs project exp_name run_dir",
    "head.dropout={}": "drop drop_rate dropout_rate",
    "loss.label_smoothing={}": "smoothing ls",
    "loss.class_weights=balanced": "class_weight weighted",
    "trainer.accumulate_grad_batches={}": "accumulate grad_accum gradient_accumulation_steps",
    "trainer.gradient_clip_val={}": "clip_grad grad_clip clipnorm max_grad_norm gradient_clip",
    "trainer.precision={half}": "fp16 amp half mixed_precision use_amp to_fp16",
    "trainer.precision={bfloat}": "bf16 bfloat16",
    "{devices}": "gpus gpu n_gpus num_gpus ngpu",
    "{device}": "device cuda",
    "seed={}": "random_state random_seed manual_seed rng",
    "monitor={}": "metric eval_metric monitor_metric metrics",
    "freeze={}": "frozen freeze_backbone freeze_epochs",
}
MEANINGS = {word: meaning for meaning, words in WORDS.items() for word in words.split()}
CLASSES = "classes num_classes n_classes nc num_class class_names num_labels n_out"
GROUPS = ("", "trainer", "model", "data", "train", "dataset", "training", "hparams", "args")


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    flags: list[str] = []
    words: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.partition("=")
        takes_value = name in TAKES_VALUE.split()
        is_flag = takes_value or word in ALONE.split() or name.startswith("--hydra-")
        (flags if is_flag else words).append(word)
        if takes_value and not equals and rest:
            flags.append(rest.pop(0))
    return flags, words


def refuse_other_forms(
    words: Sequence[str], known: Collection[str] = (), bare: Callable[[str], str] | None = None
) -> list[str]:
    """Return the words as settings; raise a UserError with the right form of words that have another.

    With `known` keys, foreign words are translated. `bare` makes a setting of a word without `=`.
    """
    settings: list[str] = []
    advice: list[str] = []
    rest = list(words)
    while rest:
        typed, right = take_setting(rest, bare)
        del rest[: len(typed)]
        settings.append((translation(right, known) if known else None) or right)
        if settings[-1:] != typed:
            dashes = "settings have no dashes: " if typed[0].startswith("-") else ""
            advice.append(f"{dashes}write {settings[-1]} instead of {' '.join(typed)!r}")
    if advice:
        raise UserError(f"{'; '.join(advice)} (--help shows all).")
    return settings


def take_setting(rest: list[str], bare: Callable[[str], str] | None) -> tuple[list[str], str]:
    """Return the first words, which are one setting, and its right form."""
    word, following = rest[0], rest[1] if len(rest) > 1 else ""
    is_value = following != "" and "=" not in following and not following.startswith("-")
    key, equals, value = word.partition("=")
    is_list_item = value.endswith(",") and not Path(value).exists()
    if word.startswith("-"):
        key = key.lstrip("-").replace("-", "_")
        if is_value and not equals:
            return rest[:2], f"{key}={following}"
        return [word], f"{key}={value or 'VALUE'}"
    if not equals and following == "=":
        return rest[:3], f"{word}={rest[2] if len(rest) > 2 else 'VALUE'}"
    if not equals and following.startswith("="):
        return rest[:2], word + following
    if equals and is_value and (not value or is_list_item):
        return rest[:2], word + following
    if is_list_item:
        return [word], word.rstrip(",")
    if equals or bare is None or word.startswith("~"):
        return [word], word
    is_key = re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", word) and not Path(word).exists()
    return (rest[:2], f"{word}={following}") if is_value and is_key else ([word], bare(word))


def translation(argument: str, known: Collection[str]) -> str | None:
    """Return what to write instead of a foreign `word=value`, None for a known or an unheard-of word.

    Raises UserError for words about the classes: these come from the data.
    """
    key, equals, value = argument.lstrip("+").partition("=")
    group, _, word = key.lower().replace("-", "_").rpartition(".")
    if not equals or key in known or group not in GROUPS:
        return None
    if word in CLASSES.split():
        raise UserError(f"unknown setting '{key}': the classes are the folders in data.root; leave it out.")
    if word not in MEANINGS:
        return None
    is_off, is_on = value.lower() in ("false", "0", "no"), value.lower() in ("true", "1", "yes")
    forms = {
        "weights": "null" if is_off else "default" if is_on else value,
        "half": "32" if is_off else "16-mixed",
        "bfloat": "32" if is_off else "bf16-mixed",
        "devices": "trainer=cpu" if value == "0" else f"trainer=gpu trainer.devices={value}",
        "device": device(value),
    }
    return MEANINGS[word].format(value, **forms)


def device(value: str) -> str:
    gpus = re.fullmatch(r"(?:(?:cuda|gpu):?)?([0-9,]*)", value)
    if gpus:
        return f"trainer=gpu trainer.devices=[{gpus[1]}]" if gpus[1] else "trainer=gpu"
    return "trainer=cpu" if value == "cpu" else f"trainer.accelerator={value}"


def value_of(settings: Sequence[str], key: str) -> str | None:
    """Return the value that a setting is given last, without quotes; None where it is not given."""
    given = [setting.partition("=")[2] for setting in settings if setting.partition("=")[0] == key]
    return unquoted(given[-1]) if given else None


def unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return re.sub(r"\\([\\'\"])", r"\1", value[1:-1])
    return value


def quoted_texts(settings: Sequence[str], sweeps: bool) -> list[str]:
    """Return the settings with paths and other free text quoted for Hydra where it has to be."""
    done = []
    for setting in settings:
        key, _, value = setting.partition("=")
        if key.lstrip("+") not in TEXTS or SWEEP_FUNCTION.match(value):
            done.append(setting)
        # In a sweep a list separated by commas stays one, unless a file or folder has the whole as its name.
        elif sweeps and "," in value and value[0] not in "'\"" and not Path(value).expanduser().exists():
            done.append(f"{key}={','.join(map(quoted, value.split(',')))}")
        else:
            done.append(f"{key}={quoted(value)}")
    return done


def quoted(value: str) -> str:
    """Return a text as Hydra reads it back: `~` expanded, in quotes where it is more than a plain word."""
    if value in ("", "null", "true", "false", "???") or value[0] in "'\"" or "${" in value:
        return value
    if value == "~" or value.startswith("~/"):
        value = str(Path(value).expanduser())
    if PLAIN.fullmatch(value):
        return value
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"
