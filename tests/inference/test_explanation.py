"""Grad-CAM finds what decides, and says where it cannot be used."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from graft.data.bands import shown_bands
from graft.errors import UserError
from graft.inference.explanation import Overlays, as_image, explain, last_feature_maps, overlay
from graft.models.backbones import build_backbone, build_head
from graft.models.checkpoints import LoadedClassifier
from graft.models.classifier import Classifier
from graft.preprocessing import Preprocessing
from graft.tasks.task import Task
from tests.conftest import PROJECT, Command, task_of

pytest.importorskip("pytorch_grad_cam")


class Brightness(nn.Module):
    """Says light where the image is bright somewhere: the maps are the image itself, smaller."""

    def __init__(self, signs: tuple[float, float] = (-1.0, 1.0), channels: int = 3) -> None:
        super().__init__()
        self.maps = nn.Conv2d(channels, channels, 4, stride=4, groups=channels, bias=False)  # means of 4x4
        self.head = nn.Linear(channels, 2, bias=False)
        with torch.no_grad():
            self.maps.weight.fill_(1 / 16)
            self.head.weight.copy_(torch.tensor([[sign] * channels for sign in signs]))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of dark and light."""
        logits: Tensor = self.head(self.maps(images).mean(dim=(2, 3)))
        return logits


@pytest.mark.parametrize(
    ("task", "label"),
    [
        (task_of("multiclass", ("dark", "light")), "light"),
        (task_of("multilabel", ("dark", "light"), thresholds=[0.9, 0.9]), "light"),
        (task_of("regression", ("light", "dark"), mean=[1.0, 1.0], std=[2.0, 1.0]), "1.375;0.8125"),
        (task_of("regression", ("dark", "light"), mean=[1.0, 1.0], std=[2.0, 1.0]), "0.625;1.1875"),
    ],
)
def test_the_heat_lies_where_the_label_comes_from(tmp_path: Path, task: Task, label: str) -> None:
    image = Image.new("RGB", (32, 32), "black")
    image.paste("white", (20, 4, 28, 12))
    image.save(tmp_path / "spot.png")
    (tmp_path / "bad.png").write_text("no image", encoding="utf-8")
    preprocessing = Preprocessing((32,), (32, 32), "bilinear", True, (0.0,) * 3, (1.0,) * 3)
    signs = (1.0, -1.0) if task.columns[0] == "light" else (-1.0, 1.0)
    loaded = LoadedClassifier(Brightness(signs).eval(), task.describe(), preprocessing)  # type: ignore[arg-type]
    bad, found = explain(loaded, iter([tmp_path / "bad.png", tmp_path / "spot.png"]))
    assert bad.error
    assert bad.overlay is None
    assert found.label == label
    assert found.overlay is not None
    red, _, blue = np.moveaxis(np.asarray(found.overlay).astype(int), 2, 0)
    assert (red - blue)[6:10, 22:26].min() > 0 > (red - blue)[20:, :12].max()


def test_bands_are_explained(tmp_path: Path) -> None:
    bands = np.zeros((32, 32, 5), np.uint8)
    bands[4:12, 20:28] = 255
    np.save(tmp_path / "spot.npy", bands)
    preprocessing = Preprocessing((32,), (32, 32), "bilinear", True, (0.0,) * 5, (1.0,) * 5)
    task = task_of("multiclass", ("dark", "light"))
    network = Brightness(channels=5).eval()
    loaded = LoadedClassifier(network, task.describe(), preprocessing)  # type: ignore[arg-type]
    (found,) = explain(loaded, iter([tmp_path / "spot.npy"]), bands=[4])
    assert found.label == "light"
    assert found.overlay is not None
    assert (found.overlay.size, found.overlay.mode) == ((32, 32), "RGB")


def test_bands_are_chosen() -> None:
    assert shown_bands(3, None) == shown_bands(5, None) == [0, 1, 2]
    assert shown_bands(1, None) == shown_bands(2, None) == [0]
    assert shown_bands(5, [4, 3, 0]) == [4, 3, 0]
    with pytest.raises(UserError, match=r"bands=\[0,1,5\]: write one or three of the images' bands, 0 to 4"):
        shown_bands(5, [0, 1, 5])


def test_one_band_of_numbers_from_0_to_1_is_shown_grey() -> None:
    found = as_image(torch.full((1, 4, 4), 0.5), [0])
    grey = as_image(torch.full((3, 4, 4), 128, dtype=torch.uint8), [0, 1, 2])
    assert np.abs(np.asarray(found).astype(int) - np.asarray(grey).astype(int)).max() <= 1


def test_dark_bands_are_shown_from_black_to_white() -> None:
    bands = torch.linspace(0.01, 0.05, 5)[:, None, None].expand(5, 4, 4)
    assert np.asarray(as_image(bands, [0, 2, 4]))[0, 0].tolist() == pytest.approx([0, 127, 255], abs=1)


def test_the_heat_is_seen_on_an_image_of_any_colour() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[:, 2:] = 1
    for colour in ("white", "black", "purple", "yellow"):
        image = Image.new("RGB", (4, 4), colour)
        found = np.asarray(overlay(image, heat)).astype(int)
        assert np.abs(found[0, 0] - found[0, 3]).sum() > 100, colour
        assert np.array_equal(
            np.asarray(overlay(image, heat, opacity=0)), np.asarray(image.convert("L").convert("RGB"))
        )


@pytest.mark.parametrize(
    ("source", "name"),
    [("timm", "test_efficientnet"), ("torchvision", "squeezenet1_1"), ("torchvision", "swin_t")],
)
def test_the_last_feature_maps_are_found(source: str, name: str) -> None:
    backbone = build_backbone(source, name, weights=None)
    classifier = Classifier(backbone, build_head(backbone, 2, dropout=0.0, hidden=None)).eval()
    images = torch.zeros(1, 3, 96, 96)
    module, is_channels_last = last_feature_maps(classifier, images)
    outputs: list[Tensor] = []
    module.register_forward_hook(lambda _, __, output: outputs.append(output))
    classifier(images)
    assert outputs[0].ndim == 4
    assert min(outputs[0].shape[2:] if not is_channels_last else outputs[0].shape[1:3]) > 1


def test_a_transformer_of_tokens_is_refused() -> None:
    backbone = build_backbone("timm", "test_vit", weights=None)
    classifier = Classifier(backbone, build_head(backbone, 2, dropout=0.0, hidden=None)).eval()
    with pytest.raises(UserError, match="needs a convolutional one"):
        last_feature_maps(classifier, torch.zeros(1, 3, *backbone.preprocessing.crop))


def test_the_script_writes_a_png_for_each_image(
    tmp_path: Path,
    checkpoint: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (images / "dark" / "bad.jpg").write_text("no image", encoding="utf-8")
    Image.new("RGB", (8, 8)).save(images / "dark" / "000.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["explain.py", f"checkpoint={checkpoint}", f"input={images}"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(PROJECT / "scripts" / "explain.py"), run_name="__main__")
    assert end.value.code == 3
    written = sorted((tmp_path / "explanations").rglob("*.png"))
    assert len(written) == 25
    assert {file.name for file in written if "000" in file.name} == {"000.png", "000.png.png"}
    with Image.open(tmp_path / "explanations" / "dark" / "000.png") as image:
        assert image.width > 1.5 * image.height  # Two images beside each other, and the scale.
    shown = capsys.readouterr().out
    assert "bad.jpg  cannot be read" in shown
    assert re.search(r"000\.jpg  (dark|light)  0\.\d{4}  explanations/", shown)


def test_an_exported_file_is_refused(script: Command, tmp_path: Path, images: Path) -> None:
    (tmp_path / "best.onnx").write_bytes(b"")
    result = script("explain.py", "checkpoint=best.onnx", f"input={images}")
    assert result.returncode == 2
    assert "best.onnx: Grad-CAM needs a checkpoint" in result.stderr


def test_overlays_are_drawn_once_where_they_can_be_and_else_the_reason_is_given(
    images: Path, checkpoint: Path, tmp_path: Path
) -> None:
    paths = [images / "dark" / "000.jpg", tmp_path / "gone.jpg", images / "light" / "000.jpg"]
    overlays = Overlays(checkpoint)
    first = overlays.of(paths[:2])
    assert (list(first), overlays.why_none) == (paths[:1], "")
    again = overlays.of(paths)
    assert list(again) == [paths[0], paths[2]]
    assert again[paths[0]] is first[paths[0]]
    exported = Overlays(tmp_path / "exported.onnx")
    assert exported.of(paths) == {}
    assert "needs a checkpoint" in exported.why_none


def test_without_grad_cam_overlays_name_the_extra(
    images: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    overlays = Overlays(checkpoint)
    assert overlays.of([images / "dark" / "000.jpg"]) == {}
    assert ".[explain]" in overlays.why_none
