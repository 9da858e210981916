"""Says at the end which blocks of the pages were not run, and why."""

import pytest

from tests.docs.pages import blocks, pages


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left = [block for page in pages() for block in blocks(page) if block.why_not_run]
    terminalreporter.section(f"{len(left)} blocks not run")
    for block in left:
        terminalreporter.write_line(f"{block.place}: {block.why_not_run}")
