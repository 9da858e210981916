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

from graft.finished_run import FinishedRun
from graft.inference.evaluation import Evaluation
from graft.inference.explanation import Overlays
from graft.inference.runtimes import load_model
from graft.reporting.report.evaluation import write_evaluation_report
from graft.reporting.report.page import metric_name
from graft.reporting.report.run import curves, described, write_run_report
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
    tmp_path.mkdir(exist_ok=True)
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


def test_images_that_the_network_was_trained_on_are_counted_at_the_top(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert "Training images:" not in write_page_of(run, ["a", "b"], [0, 1, 0], [0, 1, 0])

    (tmp_path / "splits.csv").write_text("path,target,split\n0.png,a,train\n1.png,b,val\n", encoding="utf-8")

    page = write_page_of(run, ["a", "b"], [0, 1, 0], [0, 1, 0])
    assert "1 of these images have the paths of images that the network was trained on" in page


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
        "AdamW",
        "0.003",
        "CrossEntropyLoss (label smoothing 0.1)",
        "Augmentation",
        torch.__version__,
    ):
        assert f"<td>{row}</td>" in text


def page_of(run: FinishedRun) -> str:
    file = run.folder / "page.html"
    write_run_report(file, run, Overlays(run.checkpoint))
    return file.read_text(encoding="utf-8")


def with_settings(run: FinishedRun, **settings: object) -> FinishedRun:
    return replace(run, settings={**run.settings, **settings})


def test_the_head_of_the_page_says_what_is_missed_and_that_a_run_is_limited(make_record: MakeRecord) -> None:
    targets = [("sick",)] * 4 + [("well",)] * 12
    logits = torch.tensor([[1.0, 0.0]] + [[0.0, 1.0]] * 15)  # One of the four sick is found.
    run = make_record(task_of("multiclass", ("sick", "well"), positive="sick"), targets, logits)
    page = page_of(run)
    head = page[page.index("<header>") : page.index("</header>")]
    assert "lowest recall: sick, 3 of 4 images missed" in head
    assert "balanced accuracy, the mean recall of the classes: 62.5\N{NO-BREAK SPACE}%" in head
    assert "limited run" not in head
    test = page[page.index("<h2>Test</h2>") :]
    assert re.search(r"sensitivity \(recall of sick\)</th><td[^>]*>0.2500", test)
    assert re.search(r"specificity \(recall of well\)</th><td[^>]*>1.0000", test)
    assert "ROC curve" in test
    assert "3 of 4 images are missed" in page[page.index("What to try next") :]
    assert "A limited run:" in page_of(with_settings(run, data={**run.settings["data"], "limit": 20}))


@pytest.mark.parametrize(
    ("views", "shown"), [(1, "none (features.views)"), (3, "Augmentation"), (None, "Augm")]
)
def test_augmentation_that_was_not_used_is_not_shown(
    make_record: MakeRecord, views: int | None, shown: str
) -> None:
    task = task_of("multiclass", ("a", "b"))
    page = page_of(make_record(task, [("a",), ("b",)], torch.eye(2), views=views))
    assert re.search(rf"augmentation</th><td[^>]*>{re.escape(shown)}", page)


def test_one_learning_rate_is_shown_the_one_that_was_used(make_record: MakeRecord) -> None:
    run = make_record(task_of("multiclass", "ab"), [("a",), ("b",)], torch.eye(2))
    phase = replace(run.phases[0], head_learning_rate=0.0123)
    page = page_of(with_settings(replace(run, phases=[phase]), learning_rate="auto"))
    assert "<td>0.0123, found by a range test</td>" in page
    assert page[: page.index("<h2>Provenance")].count("0.003") == 0


def test_settings_are_words(make_record: MakeRecord) -> None:
    flips = {"_target_": "a.Flip", "p": 0.5, "sides": ["left", "right"], "is_fast": True, "off": None}
    assert described({"_target_": "graft.Augmentation", "min_scale": 0.5, "transforms": {"x": flips}}) == (
        "Augmentation (min scale 0.5, transforms Flip (p 0.5, sides left and right, is fast))"
    )


def test_the_page_shows_the_bands_that_the_settings_name(make_record: MakeRecord) -> None:
    run = make_record(task_of("multiclass", "ab"), [("a",), ("b",)], torch.eye(2), channels=5)
    np.save(run.root / "0.npy", np.stack([np.full((40, 40), 50 * n, np.uint8) for n in range(5)], axis=-1))
    target = "graft.reporting.board.callback.TensorBoardImages"
    shown = {}
    for bands in ([0, 1, 2], [4, 1, 0]):
        chosen = with_settings(run, callbacks={"mine": {"_target_": target, "bands": bands}})
        page = page_of(chosen)
        shown[bands[0]] = page[page.index('<div class="examples">') : page.index("<h2>Training")]
    assert shown[0] != shown[4]


def test_a_class_keeps_its_name_within_that_of_a_metric() -> None:
    assert metric_name("sensitivity (recall of hot_dog)") == "sensitivity (recall of hot_dog)"
    assert metric_name("balanced_accuracy") == "balanced accuracy"
    assert metric_name("ece") == "expected calibration error (ECE)"
