"""Every key of the composed settings takes a value that fits, or is answered with one line that names it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from graft.cli.checking import declared_keys
from graft.cli.config_files import group_choices
from graft.cli.settings import check_settings, declared_settings, plain_values
from graft.errors import UserError
from tests.conftest import PROJECT

VALUES: tuple[Any, ...] = (None, -1, "abc", [], {}, True)


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        return compose("train", overrides=["paths.run=run", *overrides])


def leaves(node: Any, parents: tuple[str, ...] = ()) -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*parents, name))
        else:
            yield ".".join((*parents, name))


def refusal(config: DictConfig) -> str | None:
    """Return the line that refuses the settings, None where they fit."""
    try:
        check_settings(config)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_every_setting_fits_or_is_named_in_one_line(value: Any) -> None:
    config = composed()
    for key in leaves(OmegaConf.to_container(config, resolve=False)):
        if key == "task.monitor":
            continue  # The error names `monitor`, whose default it is.
        changed = config.copy()
        OmegaConf.update(changed, key, value, merge=False)
        line = refusal(changed)
        assert line is None or (key in line and len(line.splitlines()) == 1)


CHOICES = [
    f"{group}={choice}"
    for group, choices in group_choices(PROJECT / "configs").items()
    for choice in choices
    if group not in ("experiment", "hydra", "paths")
]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_every_group_is_declared_and_fits(choice: str, images: Path) -> None:
    needed = {
        "model=any": ["model.name=x"],
        "model=timm": ["model.name=x"],
        "model=torchvision": ["model.name=x"],
        "model=own": ["model._target_=my_package.MyNet"],
    }
    table = images / "labels.csv"
    table.write_text("path,label\n", encoding="utf-8")
    needed["data=table"] = [f"data.file={table}", "data.target=label"]
    needed |= {"data=folder": [f"data.root={images}"], "finetuning=gradual": ["trainer.max_epochs=20"]}
    config = composed(choice, *needed.get(choice, []))
    check_settings(config)
    values: Any = OmegaConf.to_container(config, resolve=False)
    declared = declared_settings(plain_values(config))
    undeclared = set(leaves(values)) - set(declared_keys(declared)) - open_entries(values)
    assert not undeclared, "a key of the YAML files is not declared"


def open_entries(values: dict[str, Any]) -> set[str]:
    """Return the keys that need no declaration: of any names, of loggers, of Lightning's own classes."""
    entries = [
        (group, name, entry) for group in ("logger", "callbacks") for name, entry in values[group].items()
    ]
    signed = [
        f"{group}.{name}."
        for group, name, entry in entries
        if entry and (group == "logger" or "lightning" in entry["_target_"])
    ]
    return {key for key in leaves(values) if key.startswith(("model.options.", "task.metrics.", *signed))}


def test_every_declared_key_without_a_default_is_in_the_yaml_files_with_a_comment() -> None:
    commented = set()
    for file in (PROJECT / "configs").rglob("*.yaml"):
        commented |= set(re.findall(r"^\s*(?:- )?(\w+):", file.read_text(encoding="utf-8"), flags=re.M))
    declared = declared_settings(plain_values(composed()))
    needed = {
        key.rpartition(".")[2]
        for key in declared_keys(declared)
        if not key.rpartition(".")[2].startswith("_") and key.partition(".")[0] != "trainer"
    }
    assert needed <= commented | {"eps"}


@pytest.mark.parametrize(
    "changes",
    [
        ["+optimizer.foreach=true", "+optimizer.fused=true"],
        ["optimizer=sgd", "optimizer.nesterov=true", "optimizer.momentum=0"],
        ["optimizer._target_=torch.optim.RAdam", "optimizer.betas=[2,0.9]"],
    ],
)
def test_what_the_optimizer_itself_refuses_is_told_before_the_run(changes: list[str]) -> None:
    assert str(refusal(composed(*changes))).startswith("optimizer does not fit: ")


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
def test_what_a_task_measures_can_be_monitored(task: str) -> None:
    for name in ("loss", *composed(f"task={task}").task.metrics):
        assert refusal(composed(f"task={task}", f"monitor=val/{name}")) is None
    assert "is not measured" in str(refusal(composed(f"task={task}", "monitor=val/kappa")))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("head.hidden=true", "head.hidden=true: write a whole number"),
        ("head.hidden=99999999999999999999", "head.hidden=9999"),
        ("data.image_size=32.5", "data.image_size=32.5: write a whole number"),
        ("seed=true", "seed=true: write a whole number"),
        ("seed=42.0", "seed=42.0: write a whole number"),
        ("data.limit=abc", "data.limit=abc: write a whole number of 1 or more, or null"),
        ("cache.limit_gb=true", "cache.limit_gb=true: write a number above 0"),
        ("cache.limit_gb=0", "cache.limit_gb=0: write a number above 0"),
        ("features.cache=0", "features.cache=0: write true, false or auto"),  # room: features
        ("features.cache=1", "features.cache=1: write true, false or auto"),  # room: features
        ("compile=1", "compile=1: write true, false or auto"),
        ("+trainer.limit_train_batches=0", "trainer.limit_train_batches=0"),
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0: write a whole number"),
        ("trainer.accumulate_grad_batches=-1", "trainer.accumulate_grad_batches=-1"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1: write a number above 0, or null"),
        ("trainer.log_every_n_steps=[]", "trainer.log_every_n_steps=[]"),
        ("trainer.strategy=ddp_spawn", "trainer.strategy=ddp_spawn: write auto, ddp"),
        ("callbacks.progress.monitor=[]", "callbacks.progress.monitor=[]"),
        ("resume=-1", "resume=-1"),
        ("model.name=-1", "model.name=-1"),
        ("model.weights=[]", "model.weights=[]"),
        ("optimizer.betas=null", "optimizer.betas=null: write two numbers"),
        ("optimizer.weight_decay=-1", "optimizer.weight_decay=-1: write a number of 0 or more"),
        ("optimizer._target_=nonsense", "optimizer._target_=nonsense"),
        ("optimizer._partial_=false", "optimizer._partial_=false: write true"),
        ("++optimizer.eps=abc", "optimizer.eps=abc: write a number above 0"),
        ("+optimizer.momentun=1", "optimizer.momentun"),
        ("callbacks.tensorboard_images.bands=[0,1]", "tensorboard_images.bands=[0,1]"),  # room: reporting
        ("+callbacks.x._target_=nonsense", "callbacks.x._target_=nonsense"),
        ("+callbacks.x._target_=graft.nothing.There", "callbacks.x._target_=graft.nothing.There"),
        ("+trainer.foo=1", "trainer.foo"),
        ("logger.csv.save_dir=[]", "logger.csv.save_dir=[]: write text"),
        ("+logger.csv.foo=1", "'logger.csv.foo'"),
        ("logger.tensorboard.name=1", "logger.tensorboard.name=1: write text"),
        ("callbacks.lr_monitor.logging_interval=day", "write step, epoch or null"),
        ("~features.views", "features.views is needed"),  # room: features
        ("~callbacks.checkpoint", "callbacks.checkpoint is needed"),
        ("monitor=accuracy", "Did you mean 'val/accuracy'"),
        ("monitor_mode=most", "monitor_mode=most: write auto, min or max"),
        ("freeze=yes", "freeze=yes: write true, false, or a whole number of 1 or more"),
        ("time_budget=10m", "time_budget=10m needs recipe=auto."),  # room: recipes
        ("freeze=25", "leaves no epoch for fine-tuning"),
        ("data.val_fraction=0.9", "leave nothing to train on"),
        ("data.splits=nowhere.csv", "there is no such file"),
        ("data.value_range=[5,1]", "data.value_range=[5,1]"),
        ("data.value_range=8bit", "data.value_range=8bit"),
        ("paths.logs=null", "paths.logs=null: write a path"),
        ("head=null", "head=null: it holds settings of its own"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_to_write(change: str, expected: str) -> None:
    line = refusal(composed(change))
    assert line is not None
    assert expected in line


@pytest.mark.parametrize(
    "change",
    [
        "trainer.devices=[0]",
        "trainer.precision=bf16-mixed",
        "+trainer.limit_test_batches=0.5",
        "+trainer.max_time=00:00:10:00",
        "learning_rate=auto",
        "freeze=2",
        "cache.limit_gb=0.0003",
        "data.value_range=[0,4095]",
        "+optimizer.amsgrad=true",
        "callbacks.progress=null",
        "logger.csv=null",
        "optimizer._target_=torch.optim.RAdam",
        "++model.options.drop_rate=0.1",
        "+callbacks.stop={_target_: lightning.pytorch.callbacks.Timer, duration: '00:12:00:00'}",
    ],
)
def test_what_a_run_can_take_is_taken(change: str) -> None:
    assert refusal(composed(change)) is None


def test_a_scheduler_that_does_not_take_the_steps_is_refused() -> None:
    line = refusal(composed("scheduler=none", "scheduler._target_=torch.optim.lr_scheduler.ConstantLR"))
    assert line is not None
    assert "ConstantLR does not take total_steps and steps_per_epoch" in line
