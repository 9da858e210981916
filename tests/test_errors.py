"""What is not installed is named with the command that installs it."""

from pathlib import Path
from typing import Any

import pytest

from graft.errors import UserError
from graft.inference.prediction_files import checked_writer


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without extras."""

    def refuse(name: str, *_: Any) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name.split(".")[0])

    monkeypatch.setattr("importlib.import_module", refuse)


@pytest.mark.usefixtures("bare")
def test_parquet_says_which_extra_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'^pyarrow is not installed.*pip install -e "\.\[parquet\]"'):
        checked_writer(tmp_path / "p.parquet")
