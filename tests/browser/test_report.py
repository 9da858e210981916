# room: reporting
"""The report, opened from disk in headless Chromium, is whole and readable, light and dark, wide and narrow.

With SCREENSHOTS=FOLDER an image of each is kept.
"""

import json
import os
from pathlib import Path

import pytest
from selenium import webdriver

from tests.conftest import MakeConfig
from tests.reporting.conftest import reported

# The lowest contrast (WCAG 2.2) of a text with what is behind it, and the text.
LOWEST_CONTRAST = """
const parts = colour => colour.match(/[\\d.]+/g).map(Number);
const light = colour => parts(colour).slice(0, 3)
  .map(value => value / 255)
  .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
  .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0.05);
const behind = element => {
  const colour = getComputedStyle(element).backgroundColor;
  return parts(colour)[3] === 0 && element.parentElement ? behind(element.parentElement) : colour;
};
const hasText = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
return [...document.querySelectorAll("body *:not(svg *)")].filter(hasText).map(element => {
  const [low, high] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => a - b);
  return [high / low, element.textContent.slice(0, 40)];
}).sort((a, b) => a[0] - b[0])[0];
"""
BROKEN = "return [...document.images].filter(one => !one.complete || !one.naturalWidth).length"
CUT = "return [...document.querySelectorAll('.scroll')].some(one => one.scrollWidth > one.clientWidth)"
# Labels of the axes are as bright as the page's text.
INK = """
return [...document.querySelectorAll("svg text, svg text *")]
  .some(one => getComputedStyle(one).fill === getComputedStyle(document.body).color);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 390])
def test_the_report_is_readable(report: str, browser: webdriver.Chrome, scheme: str, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    chosen = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", chosen)
    browser.get(report)
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    contrast, text = browser.execute_script(LOWEST_CONTRAST)
    assert contrast >= 4.5, text
    assert browser.execute_script(INK)
    assert browser.execute_script("return document.images.length") > 8
    assert browser.execute_script(BROKEN) == 0
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert not browser.execute_script(CUT)
    assert browser.get_log("browser") == []
    assert requested(browser) == {report}
    if folder := os.environ.get("SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / f"report-{scheme}-{width}.png"))


def test_a_click_enlarges_an_image_and_another_makes_it_small(report: str, browser: webdriver.Chrome) -> None:
    browser.get(report)
    click = browser.find_element("css selector", ".card .zoom input")
    widths = []
    for _ in range(3):
        widths.append(browser.find_element("css selector", ".card .zoom img").size["width"])
        click.click()
    assert widths == [72, browser.execute_script("return window.innerWidth"), 72]


@pytest.fixture
def report(make_config: MakeConfig, tmp_path: Path) -> str:
    """The address of a tiny run's report, with mistakes."""
    few = ("data.val_fraction=0.3", "data.test_fraction=0.3", "optimizer.lr=0.0000001")
    reported(make_config("report=true", "calibrate=true", "trainer.max_epochs=1", *few))
    return (tmp_path / "run" / "report.html").as_uri()


def requested(browser: webdriver.Chrome) -> set[str]:
    """The addresses that the page has asked for, besides what it carries itself."""
    entries = browser.get_log("performance")
    messages = [json.loads(entry["message"])["message"] for entry in entries]
    asked = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    return {one["request"]["url"] for one in asked if not one["request"]["url"].startswith("data:")}
