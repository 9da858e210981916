"""Every block of README and of the pages in docs/ does what it says: `make docs-test`."""

import os
import sys
from pathlib import Path

import pytest

from tests.docs.pages import blocks, pages
from tests.docs.running import Page, copy_project
from tests.docs.sample_data import write_sample_data
from tests.docs.stand_ins import write_stand_in_weights


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the features of all pages, whose images are the same."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("page", pages())
def test_every_block_runs_as_written(
    page: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "graft"
    project.mkdir()
    copy_project(project)
    write_sample_data(project)
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(project / "src"),
        "GRAFT_CACHE": str(cache),
        "TORCH_HOME": str(tmp_path / "torch"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project)
    shared = Page(project)
    for block in blocks(page):
        if block.mark == "hub":
            write_stand_in_weights(tmp_path / "torch")
        if block.why_not_run is None:
            shared.run(block)
