"""What a notebook imports: `graft.train` is the command, `graft.load` a trained model."""

import csv
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import graft
from tests.conftest import PROJECT

TINY = (
    *("model=timm", "model.name=test_efficientnet", "model.weights=null", "data.image_size=32"),
    *("data.batch_size=4", "trainer.max_epochs=1", "logger.tensorboard=null"),
    "report=false",  # room: reporting
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))


def test_a_run_from_python_is_the_commands_and_its_folder_a_model(images: Path, tmp_path: Path) -> None:
    arguments = list(sys.argv)
    run = graft.train(*TINY, f"data.root={images}", f"hydra.run.dir={tmp_path / 'run'}")
    assert sys.argv == arguments
    assert run.folder == tmp_path / "run"
    assert f"data.root={images}" in (run.folder / ".hydra" / "overrides.yaml").read_text(encoding="utf-8")

    with (run.folder / "predictions.csv").open(encoding="utf-8") as lines:
        written = {row["path"]: row["predicted"] for row in csv.DictReader(lines)}
    model = graft.load(run.folder)
    predicted = model.predict([images / path for path in written])
    assert [prediction.label for prediction in predicted] == list(written.values())


def test_a_python_without_the_packages_is_told_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "graft.cli.command", None)
    with pytest.raises(SystemExit, match="is not installed here: write make setup"):
        runpy.run_path(str(PROJECT / "train.py"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [(["freez=true"], "freeze"), (["epochs=3"], "trainer.max_epochs=3"), (["-m"], "-m is for the command")],
)
def test_a_mistake_is_raised_with_the_commands_words(settings: list[str], words: str) -> None:
    with pytest.raises(graft.UserError, match=words):
        graft.train(*settings)


def test_importing_graft_imports_nothing_slow() -> None:
    code = "import graft, sys; sys.exit(any(name in sys.modules for name in ('torch', 'hydra', 'yaml')))"
    environment = {"PYTHONPATH": str(PROJECT / "src")}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
