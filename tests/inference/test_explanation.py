"""Grad-CAM finds what decides, and says where it cannot be used."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from graft.errors import UserError
from graft.inference.explanation import Overlays, explain, last_feature_maps, write_explanations
from graft.models.backbones import build_backbone, build_head
from graft.models.checkpoints import LoadedClassifier
from graft.models.classifier import Classifier
from graft.preprocessing import Preprocessing
from tests.conftest import PROJECT

pytest.importorskip("pytorch_grad_cam")


class Brightness(nn.Module):
    """Says light where the image is bright somewhere: the maps are the image itself, smaller."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 3, kernel_size=4, stride=4, groups=3, bias=False)  # means of 4x4 pixels
        self.head = nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.maps.weight.fill_(1 / 16)
            self.head.weight.copy_(torch.tensor([[-1.0] * 3, [1.0] * 3]))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of dark and light."""
        logits: Tensor = self.head(self.maps(images).mean(dim=(2, 3)))
        return logits


def test_the_heat_lies_where_the_label_comes_from(tmp_path: Path) -> None:
    image = Image.new("RGB", (32, 32), "black")
    image.paste("white", (20, 4, 28, 12))
    image.save(tmp_path / "spot.png")
    (tmp_path / "bad.png").write_text("no image", encoding="utf-8")
    preprocessing = Preprocessing((32,), (32, 32), "bilinear", True, (0.0,) * 3, (1.0,) * 3)
    loaded = LoadedClassifier(Brightness().eval(), ["dark", "light"], preprocessing)  # type: ignore[arg-type]
    bad, found = explain(loaded, iter([tmp_path / "bad.png", tmp_path / "spot.png"]))
    assert bad.error
    assert bad.overlay is None
    assert found.label == "light"
    assert found.overlay is not None
    red, _, blue = np.moveaxis(np.asarray(found.overlay).astype(int), 2, 0)
    assert (red - blue)[6:10, 22:26].min() > 0 > (red - blue)[20:, :12].max()


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
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["explain.py", f"checkpoint={checkpoint}", f"input={images}"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(PROJECT / "scripts" / "explain.py"), run_name="__main__")
    assert end.value.code == 3
    written = sorted((tmp_path / "explanations").rglob("*.png"))
    assert len(written) == 24
    with Image.open(tmp_path / "explanations" / "dark" / "000.jpg.png") as image:
        assert (image.size, image.mode) == ((32, 32), "RGB")
    assert "bad.jpg  cannot be read" in capsys.readouterr().out


def test_an_exported_file_is_refused(tmp_path: Path, images: Path) -> None:
    pytest.importorskip("pytorch_grad_cam")
    (tmp_path / "best.onnx").write_bytes(b"")
    with pytest.raises(UserError, match=r"best\.onnx: Grad-CAM needs a checkpoint"):
        write_explanations(tmp_path / "best.onnx", str(images), tmp_path / "out")


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
    assert "graft[explain]" in overlays.why_none
