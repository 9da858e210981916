# room: reporting
"""The page that evaluate.py writes."""

from pathlib import Path

from tests.conftest import Command


def test_a_page_is_written_where_it_is_asked_for(
    script: Command, tmp_path: Path, images: Path, checkpoint: Path
) -> None:
    arguments = (f"checkpoint={checkpoint}", f"data.root={images}")
    result = script("evaluate.py", *arguments, "report=page.html")
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"python scripts/evaluate.py {' '.join(arguments)}" in page
    assert "<h2>Training</h2>" not in page
    assert "Confusion matrix" in page
    result = script("evaluate.py", *arguments, "report=page.pdf")
    assert result.returncode == 2
    assert "report=page.pdf: write a .html file" in result.stderr
