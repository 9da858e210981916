"""TensorBoard, opened in headless Chromium on a finished run, shows what the run has written.

`make test-browser` runs this; `make test` does not, as it needs Chromium. With SCREENSHOTS=FOLDER it keeps
a picture of every tab.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from graft.training import train
from tests.conftest import MakeConfig

PATIENCE = 60  # seconds until a tab has loaded

# TensorBoard's parts are in shadow roots, whose text the page itself does not tell.
ALL_TEXT = """
const texts = [];
const visit = node => {
  if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent);
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
    train(make_config("trainer.max_epochs=2", "trainer.log_every_n_steps=1"))
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


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """Headless Chromium."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000"):
        options.add_argument(argument)
    options.add_argument("--enable-unsafe-swiftshader")  # The projector draws with WebGL.
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def test_every_tab_shows_what_the_run_has_written(address: str, browser: webdriver.Chrome) -> None:
    tabs = {
        "timeseries": ("val/loss", "train/pictures_per_second"),
        "images": ("pictures/training, as the network sees them", "test/confusion matrix"),
        "projector": ("validation features", "label"),
        "hparams": ("learning rate", "final/test accuracy"),
    }
    for tab, expected in tabs.items():
        browser.get("about:blank")
        browser.get(f"{address}#{tab}")
        WebDriverWait(browser, PATIENCE).until(shows(expected), f"{tab} does not show {expected}")
        if folder := os.environ.get("SCREENSHOTS"):
            browser.save_screenshot(str(Path(folder) / f"tensorboard-{tab}.png"))


def shows(expected: tuple[str, ...]) -> Callable[[webdriver.Chrome], bool]:
    """Return whether all texts are on the page."""

    def test(browser: webdriver.Chrome) -> bool:
        # Names are broken into parts where a line may break.
        text = re.sub(r"\s+", "", browser.execute_script(ALL_TEXT))
        return all(re.sub(r"\s+", "", part) in text for part in expected)

    return test
