# room: reporting
"""What a run leaves: a page with its command and versions, and predictions that its metrics are those of."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from graft.reporting.report.run import can_be_solved
from tests.conftest import Command, MakeConfig, write_images
from tests.reporting.conftest import reported

LEARNING = ("data.val_fraction=0.3", "data.test_fraction=0.3", "optimizer.lr=0.05")
TAG = re.compile(r"<[^>]+>")


def table_row(page: str, name: str) -> list[str]:
    """The cells of the first table row whose header is `name`."""
    found = re.search(rf'<th scope="row">{re.escape(name)}</th>(.*?)</tr>', page, re.DOTALL)
    assert found, name
    return [TAG.sub("", cell) for cell in re.findall(r"<td.*?</td>", found[1])]


def percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def calibration_error(truth: list[str], predicted: list[str], shares: np.ndarray) -> float:
    """The expected calibration error over 15 bins, of scikit-learn's reliability diagram."""
    confidence, right = shares.max(axis=1), np.array(truth) == np.array(predicted)
    accuracy, mean_confidence = calibration_curve(right, confidence, n_bins=15)
    images = np.histogram(confidence, 15, (0, 1))[0]
    return float(np.abs(accuracy - mean_confidence) @ images[images > 0] / len(truth))


def test_the_page_says_what_scikit_learn_makes_of_predictions_csv(
    make_config: MakeConfig, tmp_path: Path, images: Path
) -> None:
    write_images(images / "label", 12, 130, seed=3)  # A class with the name of a column.
    metrics = reported(make_config("report=true", "calibrate=true", *LEARNING)).metrics
    with (tmp_path / "run" / "predictions.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    columns = ["dark", "class label", "light"]
    assert list(rows[0]) == ["path", "label", "predicted", "probability", *columns]
    assert all(row["path"].startswith(f"{row['label']}/") for row in rows)
    truth, predicted = [r["label"] for r in rows], [r["predicted"] for r in rows]
    shares = np.array([[float(row[name]) for name in columns] for row in rows])
    assert [float(row["probability"]) for row in rows] == shares.max(axis=1).tolist()
    shares /= shares.sum(axis=1, keepdims=True)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    own = shares ** metrics["temperature"]  # predictions.csv has the calibrated probabilities.
    own /= own.sum(axis=1, keepdims=True)
    expected = {
        "accuracy": accuracy_score(truth, predicted),
        "F1 (macro)": f1_score(truth, predicted, average="macro"),
        "AUROC": roc_auc_score(truth, own, multi_class="ovr"),
        "loss": log_loss(truth, own),
        "balanced accuracy": balanced_accuracy_score(truth, predicted),
        "expected calibration error (ECE)": calibration_error(truth, predicted, own),
        "ECE after temperature scaling": calibration_error(truth, predicted, shares),
    }
    test = page[page.index("<h2>Test</h2>") :]
    named = re.findall(r'<th scope="row">([^<]*)</th>', test[: test.index("<h3>Classes</h3>")])
    assert named == list(expected), "a metric of the page is not checked here"
    for name, value in expected.items():
        assert float(table_row(test, name)[0]) == pytest.approx(value, abs=5.1e-5), name
    assert table_row(page, "temperature") == [f"{metrics['temperature']:.3g}"]
    headline = page[page.index('class="headline"') : page.index("</header>")]
    assert f"<strong>{percent(expected['accuracy'])}</strong>" in headline
    largest = max(truth.count(name) for name in set(truth))
    assert f"always predicting the largest class: {percent(largest / len(truth))}" in headline
    matrix = confusion_matrix(truth, predicted)
    drawn = page[page.index("<h3>Confusion matrix</h3>") : page.index("<h3>Reliability</h3>")]
    shown = [f"{count}{count / row.sum():.0%}" for row in matrix for count in row]
    assert re.sub(r"\s+|<[^>]*>", " ", drawn).replace(" ", "").find("".join(shown)) > 0
    assert matrix.trace() < len(truth)
    mistakes = page[page.index("<h3>Most frequent mistakes</h3>") : page.index("<h2>Images to look at")]
    names = ("dark", "label", "light")
    for row, column in zip(*np.nonzero(matrix), strict=True):
        cells = f'<td>{names[row]}</td><td>{names[column]}</td><td class="n">{matrix[row, column]}</td>'
        assert (cells in mistakes) == (row != column)
    classes = page[page.index("<h3>Classes</h3>") :]
    figures = precision_recall_fscore_support(truth, predicted, zero_division=np.nan)
    for number, name in enumerate(("dark", "label", "light")):
        count, *found = table_row(classes, name)
        assert int(count) == figures[3][number]
        for cell, column in zip(found, figures, strict=False):
            expected_cell = "\N{EN DASH}" if np.isnan(column[number]) else percent(column[number])
            assert cell.split(" (")[0] == expected_cell  # An interval may follow.


def test_report_false_writes_no_page(make_config: MakeConfig, tmp_path: Path) -> None:
    reported(make_config("report=false", "trainer.max_epochs=1"))
    assert not (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "predictions.csv").exists()


def test_a_run_without_logger_has_curves_and_one_with_copied_images_says_so(
    make_config: MakeConfig, tmp_path: Path, images: Path
) -> None:
    for number in range(12):
        (images / "light" / f"copy{number}.jpg").write_bytes((images / "light" / "000.jpg").read_bytes())
    reported(make_config("report=true", "logger=none", "trainer.max_epochs=1", *LEARNING))
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "loss by epoch" in page
    assert "linear (l2" not in page  # The head is trained by steps.
    assert "Leakage:" in page
    assert "none found" not in page


def test_a_resumed_run_has_the_curves_of_all_its_epochs(make_config: MakeConfig, tmp_path: Path) -> None:
    keep = [
        "report=true",
        "+callbacks.keep._target_=tests.conftest.KeepCheckpoints",
        "+callbacks.keep.folder=${paths.run}/checkpoints",
    ]
    whole = reported(make_config(*keep))
    assert list(whole.history["train/loss"]) == list(whole.history["val/loss"]) == [1, 2]
    resumed = reported(make_config(*keep, f"resume={tmp_path}/run/checkpoints/epoch1.ckpt", run="resumed"))
    assert resumed.history == whole.history
    pages = [(run.folder / "report.html").read_text(encoding="utf-8") for run in (whole, resumed)]
    first, second = (
        page[page.index('<figure class="chart">') : page.index("<h2>Test</h2>")] for page in pages
    )
    assert first == second


def test_a_page_that_fails_does_not_lose_the_run(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("graft.reporting.report.run.write_page", fail)
    reported(make_config("report=true", "trainer.max_epochs=1"))
    assert json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))["test/accuracy"] >= 0
    assert "report.html is not written (OSError: disk full)" in caplog.text


def test_the_page_of_a_command_has_the_command_the_versions_and_the_phases(
    command: Command, images: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (40, 48)).save(images / "dark" / "a b.png")
    settings = ["model=timm", "model.name=test_efficientnet", "model.weights=null", "data=folder"]
    settings += [f"data.root={images}", "data.image_size=32", "trainer.max_epochs=2", "freeze=1"]
    result = command(*settings, "hydra.run.dir=run")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f"<pre>python train.py {' '.join(settings)}</pre>" in page
    assert table_row(page, "torch") == [torch.__version__]
    assert table_row(page, "seed") == ["42"]
    assert table_row(page, "weights") == ["random"]
    assert "1 head" in page
    assert "2 everything" in page
    assert "loss by epoch" in page
    assert "accuracy by epoch" in page
    assert "max_epochs: 2" in page
    assert "report.html" in result.stdout


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ((), True),  # room: features
        (("features.cache=false",), False),  # room: features
        (("learning_rate=auto",), False),
        (("regularisation.mixup=0.2",), False),
        (("callbacks=ema",), False),
        (("finetuning=lp_ft",), False),
        (("loss=focal",), False),
    ],
)
def test_a_solved_head_is_advised_where_the_settings_allow_it(
    make_config: MakeConfig, changed: tuple[str, ...], expected: bool
) -> None:
    settings: Any = OmegaConf.to_container(make_config(*changed))

    assert can_be_solved(settings) is expected
