"""Finds the blocks of code in a page of the documentation, and says which are run.

A comment in the line before a block marks it. `<!-- docs-test: not run: WHY -->`; or `server`, for a command
that runs until it is stopped; or `hub`: random weights stand in for what the block downloads.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.conftest import PROJECT

LANGUAGES = ("bash", "powershell", "python", "yaml")
MARK = re.compile(r"<!-- docs-test: (.+) -->")
FENCE = re.compile(r'```(\w+)(?: title="(.+)")?$')


@dataclass(frozen=True)
class Block:
    """A block of code; one with a title is a file of that name, relative to the project's folder."""

    page: str
    line: int  # of its first line, counted from 1
    language: str
    title: str | None
    mark: str  # what the comment before it says
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def why_not_run(self) -> str | None:
        is_marked = self.mark.startswith("not run: ")
        return self.mark.removeprefix("not run: ") if is_marked else None


def pages() -> list[str]:
    """Return the pages with blocks of code, README first, relative to the project's folder."""
    files = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
    names = [file.relative_to(PROJECT).as_posix() for file in files]
    return [name for name in names if any(blocks(name))]


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page that are code; AssertionError for one whose fence is not understood."""
    lines = iter(enumerate((PROJECT / page).read_text(encoding="utf-8").splitlines(), start=1))
    before = ""
    for number, line in lines:
        if line.startswith("```") and line.strip("`") not in ("", "text"):
            fence = FENCE.match(line)
            assert fence, f"{page}:{number}: {line}"
            assert fence[1] in LANGUAGES, f"{page}:{number}: {line}"
            text = []
            for _, inside in lines:
                if inside == "```":
                    break
                text.append(inside)
            mark = MARK.match(before)
            joined = "".join(f"{inside}\n" for inside in text)
            yield Block(page, number + 1, fence[1], fence[2], mark[1] if mark else "", joined)
        elif line.startswith("```"):
            next(number for number, inside in lines if inside == "```")
        before = line or before
