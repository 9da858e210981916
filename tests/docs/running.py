"""Runs the blocks of a page as they are written, in a copy of the project's configuration and scripts."""

import contextlib
import io
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT
from tests.docs.pages import Block
from tests.docs.stand_ins import with_this_checkout

COPIED = ("configs", "scripts", "docs", "src", "train.py", "Makefile", "pyproject.toml", "README.md")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info")
SCRIPT = re.compile(r"python (train\.py|scripts/\w+\.py)( |$)")
FOR_A_SHELL = re.compile(r"[|<>&;$`*?]")  # outside of quotes
SERVES = re.compile(r"http://\S+")


class Page:
    """What the blocks of one page share: the project's copy, and the names of its Python blocks."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def run(self, block: Block) -> None:
        """Run a block; AssertionError with place, command and output where it fails."""
        if block.title:
            file = self.project / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, block.place, "exec"), self.names)
        elif block.mark == "server":
            self.serve(block)
        else:
            for command in commands(with_this_checkout(block.text)):
                self.execute(command, block)

    def execute(self, command: str, block: Block) -> None:
        in_process = SCRIPT.match(command) and not FOR_A_SHELL.search(without_quoted(command))
        code, output = self.call(command) if in_process else self.shell(command)
        assert code == 0, f"{block.place}: {command}\nexit code {code}\n{output}"

    def call(self, command: str) -> tuple[int, str]:
        """Run `python SCRIPT ...` in this process, which has imported torch already."""
        _, script, *arguments = shlex.split(command, comments=True)
        output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
        with (
            scripts_own_path(self.project, script, arguments),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
            pytest.raises(SystemExit) as end,
        ):
            runpy.run_path(script, run_name="__main__")
        assert isinstance(end.value.code, int)
        return end.value.code, output.buffer.getvalue().decode("utf-8")

    def shell(self, command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        return done.returncode, done.stdout

    def serve(self, block: Block) -> None:
        """Start a command, wait until it names the address that it serves, and stop it."""
        with subprocess.Popen(
            ["bash", "-c", block.text],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        ) as server:
            assert server.stdout is not None
            lines = []
            try:
                for line in server.stdout:
                    lines.append(line)
                    if SERVES.search(line):
                        return
            finally:
                os.killpg(server.pid, signal.SIGTERM)
        raise AssertionError(f"{block.place}: {block.text}{''.join(lines)}")


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a block: lines, with those that a backslash, a quote or `<<` goes on to."""
    gathered = ""
    for line in text.splitlines(keepends=True):
        gathered += line
        document = re.search(r"<<'?(\w+)'?", gathered)
        is_open = gathered.endswith("\\\n") or gathered.count("'") % 2 or gathered.count('"') % 2
        if is_open or (document and gathered.splitlines()[-1] != document[1]):
            continue
        gathered = gathered.replace("\\\n", "")
        if gathered.strip() and not gathered.lstrip().startswith("#"):
            yield gathered.strip()
        gathered = ""
    assert not gathered, gathered


def without_quoted(command: str) -> str:
    return re.sub(r"'[^']*'|\"[^\"]*\"|\s#.*", "", command)


@contextlib.contextmanager
def scripts_own_path(project: Path, script: str, arguments: list[str]) -> Iterator[None]:
    """Let a script see what it sees in a process of its own: its arguments, its folder, `src`."""
    argv, path, modules = list(sys.argv), list(sys.path), set(sys.modules)
    sys.argv[:] = [script, *arguments]
    sys.path[:0] = [str((project / script).parent), str(project / "src")]
    try:
        yield
    finally:
        sys.argv[:], sys.path[:] = argv, path
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(str(project)):  # A page's own module: the next page's has its name too.
                del sys.modules[name]


def copy_project(folder: Path) -> None:
    """Copy what the commands of the pages need, with the environment that runs this as its `.venv`."""
    for name in COPIED:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, folder / name, ignore=LEFT_OUT)
        else:
            shutil.copy(PROJECT / name, folder / name)
    environment = folder / ".venv"
    environment.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (environment / name).symlink_to(Path(sys.prefix) / name)
    (environment / ".installed").touch()  # `make setup` finds nothing to do.
