"""Unreadable images are reported before training, all of them, and good ones are remembered."""

import hashlib
import logging
from pathlib import Path

import pytest
from PIL import Image

from graft.data.checks import inspect_images, refuse_or_skip
from graft.data.threads import AT_ONCE
from graft.errors import UserError
from tests.conftest import write_images


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    write_images(tmp_path / "a", 3, 100, seed=0)
    return sorted((tmp_path / "a").iterdir())


def test_a_truncated_jpeg_is_found(paths: list[Path], tmp_path: Path) -> None:
    Image.effect_noise((400, 300), 80).save(paths[1], quality=95)
    paths[1].write_bytes(paths[1].read_bytes()[:-2000])
    assert list(inspect_images(paths, tmp_path / "seen.tsv")[1]) == [paths[1]]


def test_a_truncated_png_and_a_text_are_found(paths: list[Path], tmp_path: Path) -> None:
    png = tmp_path / "b.png"
    Image.effect_noise((60, 60), 80).save(png)
    png.write_bytes(png.read_bytes()[:-500])
    text = tmp_path / "c.jpg"
    text.write_text("no image", encoding="utf-8")
    assert set(inspect_images([*paths, png, text], tmp_path / "seen.tsv")[1]) == {png, text}


def test_good_images_are_remembered_until_they_change(paths: list[Path], tmp_path: Path) -> None:
    seen = tmp_path / "cache" / "seen.tsv"
    assert inspect_images(paths, seen)[1] == {}
    assert len(seen.read_text(encoding="utf-8").splitlines()) == 3
    paths[0].write_text("changed", encoding="utf-8")
    assert list(inspect_images(paths, seen)[1]) == [paths[0]]


def test_each_of_very_many_images_gets_its_own_hash(tmp_path: Path) -> None:
    write_images(tmp_path / "b", AT_ONCE + 20, 100, seed=0)
    many = sorted((tmp_path / "b").iterdir())
    many[AT_ONCE + 3].write_text("no image", encoding="utf-8")
    expected = [hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() for path in many]
    expected[AT_ONCE + 3] = ""
    for _ in range(2):  # read, and remembered
        digests, bad, _ = inspect_images(many, tmp_path / "seen.tsv")
        assert digests == expected
        assert list(bad) == [many[AT_ONCE + 3]]


def test_a_damaged_memory_is_made_anew(paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "seen.tsv").write_bytes(b"\xff\xfe\x00garbage")
    assert inspect_images(paths, tmp_path / "seen.tsv")[1] == {}
    assert len((tmp_path / "seen.tsv").read_text(encoding="utf-8").splitlines()) == 3


def test_at_most_ten_are_named_and_all_are_counted() -> None:
    bad = {Path(f"{i:02d}.jpg"): "broken" for i in range(12)}
    with pytest.raises(UserError, match=r"^12 unreadable images: 00\.jpg .* and 2 more\.") as caught:
        refuse_or_skip(bad, "raise")
    assert "10.jpg" not in str(caught.value)
    assert "data.on_error=skip" in str(caught.value)


def test_skipping_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        refuse_or_skip({Path("a.jpg"): "broken"}, "skip")
    assert "LEFT OUT" in caplog.text
    assert "a.jpg" in caplog.text
