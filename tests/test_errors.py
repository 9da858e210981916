"""What is not installed is named with the command that installs it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from graft.errors import UserError
from graft.inference.export.writing import write_onnx
from graft.inference.prediction_files import checked_ending


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without extras."""

    def refuse(name: str, *_: Any) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name.split(".")[0])

    monkeypatch.setattr("importlib.import_module", refuse)


@pytest.mark.usefixtures("bare")
def test_parquet_says_which_extra_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'^pyarrow is not installed.*pip install "graft\[parquet\]"'):
        checked_ending(tmp_path / "p.parquet")


@pytest.mark.usefixtures("bare")
def test_onnx_says_which_extra_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'^onnx is not installed.*pip install "graft\[export\]"'):
        write_onnx(torch.nn.Identity(), torch.zeros(1), "", tmp_path / "m.onnx")
