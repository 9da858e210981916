"""The solar cells are prepared once, whole or not at all, and never over something else."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from graft.cli.settings import check_settings
from graft.data.sources import elpv
from graft.errors import UserError
from tests.conftest import PROJECT

COUNT = 2624


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return elpv.prepare_elpv(tmp_path_factory.mktemp("data") / "elpv", cut=0.5)


def test_the_cut_divides_the_cells_as_counted_in_the_labels(prepared: Path) -> None:
    assert len(list((prepared / "functional").glob("*.png"))) == 588 + 117 + 920 + 178
    assert len(list((prepared / "defective").glob("*.png"))) == 56 + 313 + 50 + 402
    rows = (prepared / "metadata.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "path,wafer,probability,defective,mono"
    assert len(rows) == COUNT + 1


def test_a_prepared_folder_is_left_alone_and_a_damaged_one_is_made_anew(
    prepared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    marker = (prepared / elpv.MARKER).stat().st_mtime_ns
    elpv.prepare_elpv(prepared, cut=0.5)
    assert (prepared / elpv.MARKER).stat().st_mtime_ns == marker
    next((prepared / "functional").glob("*.png")).unlink()
    with caplog.at_level(logging.INFO):
        elpv.prepare_elpv(prepared, cut=0.5)
    assert elpv.count_images(prepared) == COUNT
    assert "CC BY-NC-SA 4.0" in caplog.text


@pytest.fixture
def few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = elpv.read_labels()[:8]
    monkeypatch.setattr(elpv, "read_labels", lambda: labels)


@pytest.mark.usefixtures("few_cells")
def test_a_folder_of_another_cut_is_neither_used_nor_replaced(tmp_path: Path) -> None:
    elpv.prepare_elpv(tmp_path / "elpv", cut=0.5)
    with pytest.raises(UserError, match=r"holds the cells as divided by data\.cut=0\.5; .* data\.cut=0\.2"):
        elpv.prepare_elpv(tmp_path / "elpv", cut=0.2)
    assert json.loads((tmp_path / "elpv" / elpv.MARKER).read_text(encoding="utf-8"))["cut"] == 0.5


def test_each_cut_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_ROOT", "somewhere")
    with initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        roots = [compose("train", overrides=[f"data.cut={cut}"]).data.root for cut in (0.5, 0.2)]
    assert [Path(root).name for root in roots] == ["elpv-0.5", "elpv-0.2"]


def test_a_setting_that_the_data_do_not_take_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_ROOT", "somewhere")
    with initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        config = compose("train", overrides=["+data.batchsize=1", "paths.run=run"])
    with pytest.raises(UserError, match=r"data\.batchsize.* Did you mean 'data\.batch_size'"):
        check_settings(config)


@pytest.mark.usefixtures("few_cells")
def test_a_faster_process_keeps_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "elpv"
    fill = elpv.fill
    inodes: list[int] = []

    def overtaken(*arguments: object) -> None:
        fill(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(elpv, "fill", fill)
        elpv.prepare_elpv(root, cut=0.5)
        inodes.append(root.stat().st_ino)

    monkeypatch.setattr(elpv, "fill", overtaken)
    elpv.prepare_elpv(root, cut=0.5)
    assert [root.stat().st_ino] == inodes
    assert [path.name for path in tmp_path.iterdir()] == ["elpv"]


@pytest.mark.usefixtures("few_cells")
def test_an_interrupted_preparation_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[object] = []
    copy: Callable[..., object] = shutil.copyfile

    def interrupted(*paths: Path) -> None:
        copied.append(copy(*paths))
        if len(copied) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        elpv.prepare_elpv(tmp_path / "elpv", cut=0.5)
    assert not (tmp_path / "elpv").exists()
    monkeypatch.undo()


def test_a_folder_of_someone_elses_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "elpv" / "holiday").mkdir(parents=True)
    with pytest.raises(UserError, match="holds something else"):
        elpv.prepare_elpv(tmp_path / "elpv", cut=0.5)
    assert (tmp_path / "elpv" / "holiday").is_dir()
