# room: inference/export
"""Exported files say what the checkpoint says, carry what is needed to use them, and are verified."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import graft.inference.export.writing
from graft import load
from graft.data.images import open_rgb
from graft.data.transforms import evaluation_crop, evaluation_transform
from graft.errors import UserError
from graft.inference.export.writing import FORMATS, Export, export, images_of_run, spread, write_onnx
from graft.tasks.task import Task
from tests.conftest import PROJECT, task_of, write_checkpoint

FOLDER = {"_target_": "graft.data.sources.folder.Folder"}
NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch_export": (), "openvino": ("openvino", "onnx")}


def exported(checkpoint: Path, images: Path, chosen: str, include_preprocessing: bool) -> Export:
    for library in NEEDED[chosen]:
        pytest.importorskip(library)
    output = checkpoint.with_suffix(FORMATS[chosen][0])
    return export(checkpoint, chosen, output, sorted(images.rglob("*.jpg")), include_preprocessing)


@pytest.mark.parametrize("include_preprocessing", [False, True])
@pytest.mark.parametrize("chosen", FORMATS)
def test_an_exported_file_predicts_as_the_checkpoint_does(
    tmp_path: Path, images: Path, chosen: str, include_preprocessing: bool
) -> None:
    task = task_of("multiclass", ("dark", "light"), temperature=1.7)
    checkpoint = write_checkpoint(tmp_path / "tiny.ckpt", task=task)
    done = exported(checkpoint, images, chosen, include_preprocessing)
    assert done.value < 1e-4
    assert done.images == 24
    assert min(done.speed, done.eager_speed) > 0
    paths = sorted(images.rglob("*.jpg"))
    expected = load(checkpoint).predict(paths)
    for batch_size in (1, 7):
        found = list(load(done.file).stream(paths, batch_size=batch_size))
        assert [p.label for p in found] == [p.label for p in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.values == pytest.approx(other.values, abs=1e-5)


@pytest.mark.parametrize(
    "task",
    [
        task_of("multilabel", ("big", "round"), thresholds=[0.4, 0.6]),
        task_of("regression", ("weight",), mean=[5e6], std=[1e5]),
    ],
)
def test_labels_and_numbers_are_exported(tmp_path: Path, images: Path, task: Task) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny.ckpt", task=task)
    done = exported(checkpoint, images, "torch_export", False)
    paths = sorted(images.rglob("*.jpg"))
    model = load(done.file)
    assert model.task == task
    for one, other in zip(model.predict(paths), load(checkpoint).predict(paths), strict=True):
        assert one.values == pytest.approx(other.values, rel=1e-5)


@pytest.mark.parametrize("include_preprocessing", [False, True])
def test_a_network_of_five_bands_is_exported(tmp_path: Path, include_preprocessing: bool) -> None:
    checkpoint = write_checkpoint(tmp_path / "bands.ckpt", ["dark", "light"], channels=5)
    chance = np.random.default_rng(0)
    (tmp_path / "bands").mkdir()
    for number in range(6):
        np.save(tmp_path / "bands" / f"{number}.npy", chance.integers(0, 65535, (40, 48, 5), np.uint16))
    file = checkpoint.with_suffix(".pt2")
    done = export(checkpoint, "torch_export", file, str(tmp_path / "bands"), include_preprocessing)
    assert done.images == 6
    paths = sorted((tmp_path / "bands").iterdir())
    for one, other in zip(load(file).predict(paths), load(checkpoint).predict(paths), strict=True):
        assert not one.error
        assert one.values == pytest.approx(other.values, abs=1e-5)


@pytest.mark.parametrize("include_preprocessing", [False, True])
def test_onnx_is_usable_without_graft(checkpoint: Path, images: Path, include_preprocessing: bool) -> None:
    runtime = pytest.importorskip("onnxruntime")
    file = exported(checkpoint, images, "onnx", include_preprocessing).file
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    metadata = json.loads(session.get_modelmeta().custom_metadata_map["graft"])
    model = load(checkpoint)
    assert metadata["task"] == json.loads(json.dumps(model.task.describe()))
    assert metadata["task"]["columns"] == ["dark", "light"]
    assert metadata["preprocessing"] == model.preprocessing.to_dict()
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type) == (
        "images",
        "tensor(uint8)" if include_preprocessing else "tensor(float)",
    )
    assert taken.shape[1:] == [3, 32, 32]
    assert isinstance(taken.shape[0], str)
    path = images / "dark" / "000.jpg"
    prepare = evaluation_crop if include_preprocessing else evaluation_transform
    image = prepare(model.preprocessing)(open_rgb(path)).numpy()
    (logits,) = session.run([given.name], {"images": image[None]})
    shares = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert shares == pytest.approx(model.predict([path])[0].values, abs=1e-5)


def test_a_file_that_differs_is_refused_and_not_written(
    checkpoint: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_other(deployed: torch.nn.Module, example: torch.Tensor, text: str, file: Path) -> None:
        with torch.no_grad():
            next(deployed.parameters()).mul_(1.5)
        write(deployed, example, text, file)
        with torch.no_grad():
            next(deployed.parameters()).div_(1.5)

    ending, write = FORMATS["torch_export"]
    monkeypatch.setitem(graft.inference.export.writing.FORMATS, "torch_export", (ending, write_other))
    with pytest.raises(UserError, match="differs from the checkpoint's"):
        exported(checkpoint, images, "torch_export", False)
    assert not checkpoint.with_suffix(".pt2").exists()


def test_onnx_says_which_extra_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r'^onnx is not installed.*pip install -e "\.\[export\]"'):
        write_onnx(torch.nn.Identity(), torch.zeros(1), "", tmp_path / "m.onnx")


def test_images_to_verify_on_are_those_of_the_run(tmp_path: Path, images: Path) -> None:
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    task = task_of("multiclass", ("dark", "light"))
    with pytest.raises(UserError, match=r"input is needed .*run does not lead to the run's images"):
        images_of_run(checkpoint, task, "input is needed")
    settings = {"data": {**FOLDER, "root": "${folder}", "layout": "auto"}, "folder": str(images)}
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(settings), tmp_path / "run" / ".hydra" / "config.yaml")
    root, samples = images_of_run(checkpoint, task, "input is needed")
    assert [root / sample.path for sample in samples] == sorted(images.rglob("*.jpg"))


def test_32_images_are_taken_from_all_over_the_folder() -> None:
    paths = [Path(f"{number:03d}.jpg") for number in range(100)]
    chosen = spread(paths)
    assert len(chosen) == 32
    assert chosen[0] == paths[0]
    assert chosen[-1] > paths[90]
    assert spread(paths[:5]) == paths[:5]
    few = spread(paths[:63])
    assert len(few) == len(set(few)) == 32
    assert few[-1] > paths[60]


@pytest.mark.parametrize("ending", [".onnx", ".pt2", ".xml"])
def test_a_damaged_file_is_one_line(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"damaged{ending}"
    with pytest.raises(UserError, match="there is no file"):
        load(file)
    file.write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"damaged or was not written by scripts/export\.py") as told:
        load(file)
    assert "\n" not in str(told.value)


def test_predict_takes_an_exported_file(
    tmp_path: Path,
    checkpoint: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run("export.py", monkeypatch, f"checkpoint={checkpoint}", "format=torch_export", f"input={images}")
    assert "largest difference of a probability, 24 images" in capsys.readouterr().out
    rows = []
    for model in ("tiny.ckpt", "tiny.pt2"):
        run("predict.py", monkeypatch, f"checkpoint={model}", f"input={images}", "output=p.csv")
        rows.append(
            [line.split(",")[:2] for line in (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()]
        )
    assert rows[0] == rows[1]
    assert len(rows[0]) == 25


def run(script: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run a script in this process; it ends well."""
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(PROJECT / "scripts" / script), run_name="__main__")
    assert end.value.code == 0
