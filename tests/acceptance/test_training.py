"""The main job through the command itself: what a run does, leaves behind, and survives."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import torchvision

from tests.conftest import PROJECT, Command, command_environment

TINY = (
    "model=timm",
    "model.name=test_efficientnet",
    "model.weights=null",
    "data=folder",
    "data.image_size=32",
    "data.batch_size=4",
)


def epoch_metrics(run: Path) -> dict[int, dict[str, str]]:
    """The logged training and validation metrics of each epoch (from 0), as text."""
    epochs: dict[int, dict[str, str]] = {}
    with (run / "csv" / "metrics.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            shown = {k: v for k, v in row.items() if v and ("train/" in k or "val/" in k)}
            for key in ("train/loss_step", "train/images_per_second"):  # Not at every epoch; a time.
                shown.pop(key, None)
            if shown:
                epochs.setdefault(int(row["epoch"]), {}).update(shown)
    return epochs


def test_a_run_leaves_what_the_readme_says(command: Command, images: Path, tmp_path: Path) -> None:
    result = command(*TINY, f"data.root={images}", "hydra.run.dir=run", "trainer.max_epochs=2", "freeze=1")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    run = tmp_path / "run"
    for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "train.log", "splits.csv"):
        assert (run / name).is_file()
    assert (run / "predictions.csv").is_file()
    assert (run / "report.html").is_file()  # room: reporting
    assert list((run / "tensorboard").glob("events*"))
    assert (run / ".hydra" / "config.yaml").is_file()
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert {"test/accuracy", "test/loss", "test/f1", "test/auroc", "val/accuracy"} <= set(metrics)
    assert {"epoch", "seconds", "parameters/total", "parameters/trainable"} <= set(metrics)
    assert metrics["epoch"] == 2
    assert "random" in result.stdout
    assert "phase 2/2: everything" in result.stdout
    assert "tensorboard --logdir" in result.stdout
    assert "writing report.html" in result.stdout  # room: reporting


def test_the_default_run_learns_solar_cells_from_packaged_weights(command: Command, tmp_path: Path) -> None:
    result = command(
        "hydra.run.dir=run", "data.limit=24", "trainer.max_epochs=1", f"paths.data={tmp_path}/data"
    )
    assert result.returncode == 0, result.stderr
    assert "CC BY-NC-SA 4.0" in result.stdout
    assert "efficientnet_lite0" in result.stdout
    assert json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))["test/accuracy"] > 0


@pytest.fixture
def resnet18_cache(tmp_path: Path) -> Path:
    """A weights file of the right name in torch's cache folder."""
    file = tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), file)
    return file


def test_resnet18_trains_from_torchs_cache(command: Command, images: Path, resnet18_cache: Path) -> None:
    result = command(
        "model=resnet18",
        "freeze=true",
        "data=folder",
        f"data.root={images}",
        "data.image_size=32",
        "trainer.max_epochs=1",
    )
    assert result.returncode == 0, result.stderr
    assert resnet18_cache.is_file()
    assert "IMAGENET1K_V1" in result.stdout


def test_resnet18_without_file_and_network_fails_with_one_line(command: Command, images: Path) -> None:
    # Port 9 of this machine answers nobody: a machine without network, whatever the real one has.
    result = command("model=resnet18", "data=folder", f"data.root={images}", https_proxy="http://127.0.0.1:9")
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for words in ("https://", "resnet18-f37072fd.pth", "model.weights=PATH", "efficientnet_lite0"):
        assert words in line


def test_a_killed_run_goes_on_as_if_it_had_not_been_stopped(
    command: Command, images: Path, tmp_path: Path
) -> None:
    settings = [
        *TINY,
        f"data.root={images}",
        f"paths.logs={tmp_path}/logs",
        "trainer.max_epochs=6",
        "freeze=2",
        "data.num_workers=1",
    ]
    whole = command(*settings, "hydra.run.dir=whole")
    assert whole.returncode == 0, whole.stderr

    killed_run = tmp_path / "logs" / "train" / "runs" / "killed"
    process = subprocess.Popen(
        [sys.executable, str(PROJECT / "train.py"), *settings, f"hydra.run.dir={killed_run}"],
        cwd=tmp_path,
        env=command_environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 3/"):
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.wait()
    done = torch.load(killed_run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1
    assert 2 <= done < 6

    resumed = command(*settings, "hydra.run.dir=resumed", "resume=last")
    assert resumed.returncode == 0, resumed.stderr
    expected, found = epoch_metrics(tmp_path / "whole"), epoch_metrics(tmp_path / "resumed")
    assert sorted(found) == list(range(done, 6))
    for epoch in found:
        assert found[epoch] == expected[epoch]
    finals = [
        json.loads((tmp_path / d / "metrics.json").read_text(encoding="utf-8")) for d in ("whole", "resumed")
    ]
    for metrics in finals:
        del metrics["seconds"]
    assert finals[0] == finals[1]


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupted_run_says_how_to_go_on(images: Path, tmp_path: Path, name: str, code: int) -> None:
    settings = [*TINY, f"data.root={images}", "trainer.max_epochs=1000", "hydra.run.dir=run"]
    settings += ["freeze=false", "data.num_workers=2"]
    process = subprocess.Popen(
        [sys.executable, str(PROJECT / "train.py"), *settings],
        cwd=tmp_path,
        env=command_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and so perhaps these tests, ignore Ctrl-C; a person's run does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        start_new_session=True,
    )
    assert process.stdout is not None
    assert any(line.startswith("epoch    2/1000 ") for line in process.stdout)  # in columns
    os.killpg(process.pid, signal.Signals[name])  # As schedulers and terminals do: the workers get it too.
    process.send_signal(signal.Signals[name])
    _, stderr = process.communicate()
    assert process.returncode == code
    (line,) = stderr.splitlines()
    assert line.startswith("stopped; go on")
    assert line.endswith("last.ckpt")
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


def test_two_processes_train_one_run_through_a_phase_change(
    process: Command, images: Path, tmp_path: Path
) -> None:
    pretrained = timm.create_model("test_efficientnet").state_dict()
    torch.save(pretrained, tmp_path / "weights.pth")
    settings = [
        *TINY,
        f"model.weights={tmp_path}/weights.pth",
        f"data.root={images}",
        "freeze=1",
        "optimizer.weight_decay=0.5",
        "features.cache=true",  # Reading images instead is an error. # room: features
        "+callbacks.keep._target_=tests.conftest.KeepCheckpoints",
        "+callbacks.keep.folder=${paths.run}/checkpoints",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "trainer.strategy=ddp",
    ]
    environment = {"PYTHONPATH": os.pathsep.join([str(PROJECT), *sys.path])}
    result = process(*settings, "trainer.max_epochs=2", f"hydra.run.dir={tmp_path}/run", **environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("epoch 2/2") == 1
    probe = torch.load(tmp_path / "run" / "checkpoints" / "epoch1.ckpt", weights_only=True)["state_dict"]
    frozen = {k.removeprefix("classifier.backbone.network."): v for k, v in probe.items() if "backbone" in k}
    assert len(frozen) == len(pretrained) - 2
    assert all(torch.equal(value, pretrained[name]) for name, value in frozen.items())
    first, last = (
        torch.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)
        for name in ("best", "last")
    )
    assert first["graft"]["position"]["phase"] in (0, 1)
    assert last["graft"]["position"] == {
        "phase": 1,
        "phase_began_at": 1,
        "phase_began_at_step": 2,
        "stopped_early": False,
    }
    moved = [k for k, v in last["state_dict"].items() if not torch.equal(v, first["state_dict"][k])]
    assert first["epoch"] == 1 or any("backbone" in name for name in moved)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))["epoch"] == 2

    # Only the first process sees that the best checkpoint is gone; both have to save the next one together.
    (tmp_path / "run" / "checkpoints" / "best.ckpt").unlink()
    last_path = f"resume={tmp_path}/run/checkpoints/last.ckpt"
    resumed = process(
        *settings, "trainer.max_epochs=3", last_path, f"hydra.run.dir={tmp_path}/resumed", **environment
    )
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((tmp_path / "resumed" / "metrics.json").read_text())["best_epoch"] == 3


def test_a_sweep_makes_a_run_for_each_combination(command: Command, tmp_path: Path, images: Path) -> None:
    result = command(
        "-m",
        "freeze=true,false",
        *TINY,
        f"data.root={images}",
        "trainer.max_epochs=1",
        "data.limit=6",
        "hydra.sweep.dir=sweep",
    )
    assert result.returncode == 0, result.stderr
    folders = [tmp_path / "sweep" / name for name in ("0_freeze=true", "1_freeze=false")]
    runs = [json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in folders]
    assert runs[0]["parameters/trainable"] < runs[1]["parameters/trainable"]
    assert "compare the curves" in result.stdout


def test_help_and_mistakes_are_answered_before_torch_is_imported(tmp_path: Path) -> None:
    mistakes = ["freeze=yes", "optimizer.lr=-1", "monitor=accuracy", "data.root=nowhere", "+loss.foo=1"]
    code = f"""
import sys
from pathlib import Path
from graft.cli.command import main
project = Path({str(PROJECT)!r})
assert main(["--help"], project) == 0
assert "hydra" not in sys.modules
for mistake in {mistakes!r}:
    assert main([mistake, "paths.logs=logs"], project) == 2, mistake
assert not {{"torch", "lightning", "torchvision", "timm"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    for words in ("freeze=true", "model", "resnet18", "augmentation", "examples"):
        assert words in done.stdout
    assert len(done.stderr.splitlines()) == len(mistakes)
