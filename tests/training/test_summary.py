"""What a run prints can be pasted into the shell that it was started from."""

import sys
from pathlib import Path

import pytest

from graft.training.summary import executable, next_steps, plural


def test_programs_are_named_where_the_environment_is_active_and_else_by_their_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    python = programs / "python"
    python.write_text("#!/bin/sh\n", encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert executable("python") == str(Path(".venv", "bin", "python"))
    monkeypatch.setenv("PATH", str(programs))
    assert executable("python") == "python"


def test_the_next_commands_stand_on_lines_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    run = tmp_path / "logs" / "my run"
    lines = next_steps(run, run / "best.ckpt", has_curves=False).splitlines()
    assert lines[:2] == [
        f"run folder  {Path('logs', 'my run')}",
        f"checkpoint  {Path('logs', 'my run', 'best.ckpt')}",
    ]
    assert lines[lines.index("  predict") + 1].endswith("predict.py 'logs/my run' FOLDER")
    assert "  see the curves" not in lines


@pytest.mark.parametrize(("number", "expected"), [(1, "1 epoch"), (2, "2 epochs")])
def test_one_is_singular(number: int, expected: str) -> None:
    assert plural(number, "epoch") == expected
