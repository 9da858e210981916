# room: reporting
"""The page is one file that needs nothing else, and survives odd models and names."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from graft.inference.evaluation import Evaluation
from graft.inference.explanation import Overlays
from graft.inference.runtimes import load_model
from graft.reporting.report.evaluation import write_evaluation_report
from graft.reporting.report.run import curves, write_run_report
from tests.conftest import make_sample, task_of, write_checkpoint
from tests.reporting.conftest import MakeRecord

NO_NETWORK = {"src", "href", "xlink:href", "data", "srcset", "action", "poster"}


class References(HTMLParser):
    """Collects what a page refers to, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag and its references."""
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in NO_NETWORK]


def write_page_of(tmp_path: Path, class_names: list[str], labels: list[int], predicted: list[int]) -> str:
    """Return the page of a model with these predictions, every one with a probability of 0.9."""
    probabilities = torch.full((len(labels), len(class_names)), 0.1 / max(1, len(class_names) - 1))
    probabilities[torch.arange(len(labels)), torch.tensor(predicted)] = 0.9
    samples = []
    for number, label in enumerate(labels):
        Image.fromarray(np.full((8, 8, 3), number, dtype=np.uint8)).save(tmp_path / f"{number}.png")
        samples.append(make_sample(f"{number}.png", class_names[label], "test"))
    checkpoint = write_checkpoint(tmp_path / "tiny.ckpt", class_names)
    found = Evaluation(samples, probabilities.log(), torch.tensor(labels), {})
    file = tmp_path / "page.html"
    write_evaluation_report(
        file, found, load_model(checkpoint), checkpoint, tmp_path, "python scripts/evaluate.py"
    )
    return file.read_text(encoding="utf-8")


def test_names_are_escaped_and_nothing_outside_is_referred_to(tmp_path: Path) -> None:
    names = ["<b>x", "$\\frac$ & 'y'", '"z']
    page = write_page_of(tmp_path, names, [0, 1, 2, 0], [0, 1, 2, 1])
    assert "<b>x" not in page
    assert "&lt;b&gt;x" in page
    found = References(page)
    assert found.references
    assert all(reference.startswith(("data:image/", "#")) for reference in found.references)
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    assert not re.search(r"https?://|url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_a_class_without_images_and_a_model_without_mistakes_have_a_page(tmp_path: Path) -> None:
    page = write_page_of(tmp_path, ["a", "b", "absent"], [0, 1, 0], [0, 1, 0])
    assert "None: every image is predicted correctly." in page
    assert re.search('absent</th><td class="n">0</td><td class="n">\N{EN DASH}', page)


def test_thirty_and_a_hundred_classes_have_a_page(tmp_path: Path) -> None:
    many = write_page_of(tmp_path, [f"class {n}" for n in range(30)], list(range(30)), list(range(30)))
    assert "Confusion matrix" in many
    assert "The other 10 classes are not shown." in many
    more = write_page_of(tmp_path, [f"class {n}" for n in range(100)], [0, 1], [1, 1])
    assert "Confusion matrix" not in more
    assert "All 100 classes" in more


def test_a_image_that_has_vanished_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.reporting.report.images.thumbnail", lambda *_: "")
    assert "cannot be read" in write_page_of(tmp_path, ["a", "b"], [0, 1], [1, 1])


def test_the_page_has_a_curve_of_each_metric_that_was_logged(make_record: MakeRecord) -> None:
    history = {"train/loss": {1: 0.6}, "val/loss": {1: 0.5, 2: 0.4}, "val/auroc": {1: 0.5}}
    run = make_record(task_of("multiclass", "ab"), [("a",), ("b",)], torch.eye(2), history=history)
    (loss,) = curves(run)
    assert 'aria-label="loss by epoch"' in loss
    page = run.folder / "page.html"
    write_run_report(page, replace(run, history={}), Overlays(run.checkpoint))
    assert "No curves" in page.read_text(encoding="utf-8")


def test_the_page_says_how_it_was_made(make_record: MakeRecord) -> None:
    run = make_record(task_of("multiclass", "ab"), [("a",), ("b",)], torch.eye(2))
    page = run.folder / "page.html"
    write_run_report(page, run, Overlays(run.checkpoint))
    text = page.read_text(encoding="utf-8")
    assert "<pre>python train.py &#39;data.root=a b&#39;</pre>" in text
    for row in (
        "AdamW (lr=0.003)",
        "CrossEntropyLoss (label_smoothing=0.1)",
        "Augmentation",
        torch.__version__,
    ):
        assert f"<td>{row}</td>" in text
