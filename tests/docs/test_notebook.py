"""The notebook runs from its first cell to its last."""

import os
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.docs.running import copy_project


def test_the_notebook_goes_from_a_folder_to_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat  # They come with `make docs-test`.
    from nbclient import NotebookClient

    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    copy_project(tmp_path)  # Runs are written to the logs of the project that graft is imported from.
    paths = [str(tmp_path / "src"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    notebook = nbformat.read(PROJECT / "notebooks" / "folder_to_predictions.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = str(notebook.cells)
    assert "image/png" in shown
    assert "'fine-tuned': " in shown
    assert "trainer.max_epochs=3" in shown
