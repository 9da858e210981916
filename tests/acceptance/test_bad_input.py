"""Every mistake is answered with one line and exit code 2, through the command itself."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import Command, write_images

TINY = ("model=timm", "model.name=test_efficientnet", "model.weights=null", "data=folder")


def assert_one_line(result: object, *expected: str) -> None:
    """Assert exit code 2 and a single stderr line that begins `error:` and holds the words."""
    returncode, stderr = result.returncode, result.stderr  # type: ignore[attr-defined]
    assert returncode == 2, stderr
    lines = stderr.strip().splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("error: ")
    for words in expected:
        assert words in lines[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trainer.max_epoch=3"], ["trainer.max_epoch", "Did you mean 'trainer.max_epochs'?"]),
        (["max_epochs=3"], ["Did you mean 'trainer.max_epochs'?"]),
        (["devices=4"], ["Did you mean 'trainer.devices'?"]),
        (["frezee=true"], ["Did you mean 'freeze'?"]),
        (["model=resnet19"], ["model.name=resnet19", "Did you mean 'resnet18'"]),
        (["optimzer=sgd"], ["Did you mean 'optimizer'?"]),
        (["+foo=1"], ["unknown setting 'foo'"]),
        (["--freeze=false"], ["write freeze=false"]),
        (["freeze=[1,2"], ["cannot read 'freeze=[1,2'"]),
        (["data=folder"], ["data.root"]),
    ],
)
def test_a_mistyped_setting_is_named_with_its_nearest(
    command: Command, arguments: list[str], expected: list[str]
) -> None:
    assert_one_line(command(*arguments), *expected)


@pytest.mark.parametrize(
    "arguments",
    [
        ["modle=resnet18", "paths.logs=run"],
        ["seed=-1", "paths.logs=run"],
        ["data.root=nowhere", "hydra.run.dir=run"],
        ["-m", "modle=resnet18,resnet50", "hydra.sweep.dir=run"],
    ],
)
def test_a_refused_command_leaves_no_run(command: Command, tmp_path: Path, arguments: list[str]) -> None:
    assert command(*arguments).returncode == 2
    assert not [file for file in (tmp_path / "run").rglob("*") if file.is_file()]


def test_a_refused_command_keeps_a_folder_that_was_there(command: Command, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert_one_line(command("seed=-1", "hydra.run.dir=run"), "seed=-1")
    assert (tmp_path / "run").is_dir()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["+loss.foo=1"], ["'loss.foo'"]),
        (["+regularisation.mixupp=1"], ["'regularisation.mixupp'", "Did you mean 'regularisation.mixup'?"]),
        (["+finetuning.foo=1"], ["'finetuning.foo'"]),
        (["+head.hiden=1"], ["'head.hiden'", "Did you mean 'head.hidden'?"]),
        (["+model.foo=1"], ["'model.foo'"]),
        (["seed=-1"], ["seed=-1"]),
        (["trainer.max_epochs=null"], ["trainer.max_epochs=null", "number"]),
        (["trainer.max_epochs=1.5"], ["trainer.max_epochs=1.5", "whole number"]),
        (["head.hidden=1.5"], ["head.hidden=1.5", "whole"]),
        (["head=null"], ["head=null", "head.NAME=VALUE"]),
        (["loss=null"], ["loss=null"]),
        (["+trainer.check_val_every_n_epoch=2"], ["trainer.check_val_every_n_epoch=2"]),
        (["+trainer.limit_val_batches=0"], ["trainer.limit_val_batches=0"]),
        (["freeze=maybe"], ["freeze=maybe", "true, false"]),
        (["freeze=25"], ["freeze=25", "trainer.max_epochs"]),
        (["trainer.devices=4"], ["trainer.devices=4", "1 device"]),
        (["trainer.precision=8"], ["trainer.precision=8"]),
        (["trainer.precision=16-mixed"], ["trainer.precision=16-mixed", "32"]),
        (["monitor=val/acuracy"], ["monitor=val/acuracy", "val/accuracy"]),
        (["trainer.strategy=foo"], ["trainer", "foo"]),
        (["optimizer.lr=abc"], ["optimizer.lr=abc", "number"]),
        (["optimizer.lr=-1"], ["optimizer.lr=-1"]),
        (["compile=maybe"], ["compile=maybe", "true, false or auto"]),
        (["model.options={foo:1}"], ["+model.options"]),
        (["loss.class_weights=equal"], ["loss.class_weights=equal", "balanced"]),
        (["loss.label_smoothing=1.5"], ["loss.label_smoothing=1.5"]),
        (["head.dropout=2"], ["head.dropout=2"]),
        (["scheduler.warmup=2"], ["scheduler.warmup=2"]),
        (["trainer.max_epochs=0"], ["trainer.max_epochs=0"]),
        (["+optimizer.momentun=1"], ["momentun"]),
        (["resume=nothing.ckpt"], ["nothing.ckpt"]),
        (["resume=last"], ["no run in logs has a checkpoint", "resume=PATH"]),
        (["model.name=test_eficientnet"], ["test_efficientnet"]),
        (["model.weights=missing.pth"], ["missing.pth"]),
    ],
)
def test_a_value_that_does_not_fit_is_named(
    command: Command, images: Path, arguments: list[str], expected: list[str]
) -> None:
    result = command(*TINY, f"data.root={images}", "data.image_size=32", *arguments)
    assert_one_line(result, *expected)


def test_a_missing_folder_is_named(command: Command, tmp_path: Path) -> None:
    assert_one_line(command(*TINY, f"data.root={tmp_path}/nowhere"), "nowhere")


def test_a_folder_without_images_is_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_one_line(command(*TINY, f"data.root={tmp_path}/empty"), "empty", "image")


def test_a_class_too_small_for_its_splits_is_named(command: Command, images: Path) -> None:
    write_images(images / "rare", 2, 10, seed=3)
    assert_one_line(command(*TINY, f"data.root={images}"), "rare", "2")


def test_a_single_class_is_refused(command: Command, images: Path) -> None:
    shutil.rmtree(images / "light")
    assert_one_line(command(*TINY, f"data.root={images}"), "dark")


def test_a_validation_class_that_training_lacks_is_named(command: Command, tmp_path: Path) -> None:
    for split, names in {"train": ["dark", "light"], "val": ["dark", "odd"]}.items():
        for seed, name in enumerate(names):
            write_images(tmp_path / "split" / split / name, 4, 90 + 50 * seed, seed=seed)
    assert_one_line(command(*TINY, f"data.root={tmp_path}/split"), "odd", "val")


def test_a_splits_file_that_is_no_text_is_named(command: Command, images: Path) -> None:
    arguments = [f"data.root={images}", f"data.splits={images}/dark/000.jpg"]
    assert_one_line(command(*TINY, *arguments), "000.jpg", "CSV")


def test_unreadable_images_are_all_listed(command: Command, images: Path) -> None:
    whole = (images / "dark" / "000.jpg").read_bytes()
    (images / "dark" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "light" / "text.png").write_text("no image", encoding="utf-8")
    assert_one_line(command(*TINY, f"data.root={images}"), "2", "cut.jpg", "text.png", "data.on_error=skip")


def test_a_weights_file_that_is_none_is_named(command: Command, images: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_text("no weights", encoding="utf-8")
    arguments = ["model.weights=notes.pth", f"data.root={images}"]
    assert_one_line(command(*TINY, *arguments), "notes.pth")


def test_a_folder_that_cannot_be_written_is_named(command: Command, images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where a folder should be", encoding="utf-8")
    result = command(*TINY, f"data.root={images}", "hydra.run.dir=file/run")
    assert_one_line(result, "file/run", "hydra.run.dir")


def test_the_traceback_is_shown_on_request(command: Command) -> None:
    result = command("model=resnet19", GRAFT_DEBUG="1")
    assert "Traceback" in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")
