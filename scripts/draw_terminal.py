"""Draw what a command prints in a terminal: python scripts/draw_terminal.py FILE.svg COMMAND ...

The picture of README: python scripts/draw_terminal.py docs/run.svg make train
The terminal has 100 columns; progress bars are left out, and paths are shown from this folder or from `~`.
"""

import os
import pty
import re
import shlex
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 100
PROGRESS_BAR = re.compile("it/s\\]|━")
FONT_FROM_ELSEWHERE = re.compile(r",\s*url\([^)]*\) format\([^)]*\)")


def terminal_output(command: list[str]) -> str:
    """Run the command in a terminal and return what it printed; exit with its code where it fails."""
    chunks: list[bytes] = []

    def keep(terminal: int) -> bytes:
        chunks.append(os.read(terminal, 1024))
        return chunks[-1]

    os.environ["COLUMNS"] = str(COLUMNS)
    status = os.waitstatus_to_exitcode(pty.spawn(command, keep))
    if status:
        sys.exit(status)
    return b"".join(chunks).decode("utf-8")


def visible(output: str) -> str:
    """Return the lines as they stand in the end: what a carriage return has overwritten is gone."""
    lines = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in output.split("\n"))
    text = "\n".join(line for line in lines if not PROGRESS_BAR.search(line)).strip()
    return re.sub(r"\n{3,}", "\n\n", text).replace(f"{Path.cwd()}/", "").replace(str(Path.home()), "~")


def draw(file: Path, command: list[str], output: str) -> None:
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(Text.assemble(("$ ", "bold green"), (shlex.join(command), "bold")))
    console.print(Text.from_ansi(output))
    svg = console.export_svg(title="graft")
    file.write_text(FONT_FROM_ELSEWHERE.sub("", svg), encoding="utf-8")


if __name__ == "__main__":
    _, target, *words = sys.argv
    draw(Path(target), words, visible(terminal_output(words)))
