# room: reporting
"""TensorBoard, opened in headless Chromium on a finished run, shows what the run has written.

With SCREENSHOTS=FOLDER an image of every tab is kept.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from tests.conftest import MakeConfig
from tests.reporting.conftest import reported

PATIENCE = 60  # seconds until a tab has loaded
# TensorBoard shows only the first few curves unless others are asked for.
CURVES = "^(train|val)/(loss$|images)"

# TensorBoard's parts are in shadow roots, whose text the page itself does not tell.
ALL_TEXT = """
const texts = [];
const visit = node => {
  if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent);
  if (node.tagName === "IMG" && node.naturalWidth > 300) texts.push("a whole image");
  if (node.shadowRoot) visit(node.shadowRoot);
  if (node.tagName === "IFRAME" && node.contentDocument) visit(node.contentDocument);
  if (node.tagName !== "STYLE" && node.tagName !== "SCRIPT") node.childNodes.forEach(visit);
};
visit(document.body);
return texts.join(" ");
"""


@pytest.fixture
def logs(make_config: MakeConfig, tmp_path: Path) -> Path:
    """The folder of TensorBoard's files: of the run in TENSORBOARD_LOGS, else of a tiny one."""
    if given := os.environ.get("TENSORBOARD_LOGS"):
        return Path(given)
    reported(make_config("trainer.max_epochs=2", "trainer.log_every_n_steps=1", board=True))
    return tmp_path / "run"


@pytest.fixture
def address(logs: Path) -> Iterator[str]:
    """TensorBoard on a free port of this machine."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--port", "0"]
    command += ["--host", "127.0.0.1", "--load_fast", "false"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            yield next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
        finally:
            process.terminate()


def test_every_tab_shows_what_the_run_has_written(address: str, browser: webdriver.Chrome) -> None:
    tabs = {
        "timeseries": ("train/loss", "val/loss", "train/images_per_second", "Smoothed"),
        "images": ("what the network sees/training images", "when done/Confusion matrix", "a whole image"),
        "projector": ("validation features", "label", "Points: 4"),
        "hparams": ("learning rate", "when done/test accuracy"),
    }
    WebDriverWait(browser, PATIENCE).until(has_read(address), "TensorBoard has not read the run")
    for tab, expected in tabs.items():
        browser.get("about:blank")
        browser.get(f"{address}?tagFilter={quote(CURVES)}#{tab}")
        WebDriverWait(browser, PATIENCE).until(shows(expected), f"{tab} does not show {expected}")
        if folder := os.environ.get("SCREENSHOTS"):
            browser.save_screenshot(str(Path(folder) / f"tensorboard-{tab}.png"))


def has_read(address: str) -> Callable[[webdriver.Chrome], bool]:
    """Return whether TensorBoard has read the whole run: a page that is opened before stays as it is."""

    def test(browser: webdriver.Chrome) -> bool:
        browser.get(f"{address}data/plugin/scalars/tags")
        return "when done/test accuracy" in browser.page_source

    return test


def shows(expected: tuple[str, ...]) -> Callable[[webdriver.Chrome], bool]:
    """Return whether all texts are on the page."""

    def test(browser: webdriver.Chrome) -> bool:
        # Names are broken into parts where a line may break.
        text = re.sub(r"\s+", "", browser.execute_script(ALL_TEXT))
        return all(re.sub(r"\s+", "", part) in text for part in expected)

    return test
