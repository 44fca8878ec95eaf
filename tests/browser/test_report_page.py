"""A run's report in a real browser: nothing is refused, and the answers of a steering arm can be slid through."""

from __future__ import annotations

import shutil
import struct
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from elicit.report import write_report
from tests.browser.support import assert_no_console_errors, keep_screenshot, open_file, wait_for
from tests.report.support import make_run
from tests.report.synthetic import make_big_run
from tests.support.comparisons import reference

pytestmark = pytest.mark.browser

_OPEN_PARTS = "document.querySelectorAll('details.part').forEach(d => { d.open = true })"
# Words whose letters stand on two lines, outside code, charts and texts of models.
_BROKEN_WORDS = """
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const broken = [], range = document.createRange(), left_out = 'script, style, svg, pre, code';
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  if (node.parentElement.closest(left_out) || !node.parentElement.getClientRects().length) continue;
  for (const match of node.data.matchAll(/[\\p{L}\\d]+/gu)) {
    range.setStart(node, match.index);
    range.setEnd(node, match.index + match[0].length);
    if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) broken.push(match[0]);
  }
}
return broken"""
_STEERED = (
    "return [...document.querySelectorAll('details[open] .pair .side:last-child')].map(s => s.textContent).join()"
)


def test_a_report_opens_and_its_answers_follow_the_slider(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_file(browser, write_report(Path(shutil.copytree(reference(), tmp_path / "run"))))
    assert_no_console_errors(browser)
    browser.execute_script(_OPEN_PARTS)
    summary = next(e for e in browser.find_elements(By.TAG_NAME, "summary") if "answer by answer" in e.text)
    summary.click()
    assert wait_for(browser, _STEERED)
    slider = browser.find_element(By.CSS_SELECTOR, "details[open] .elicit-panel input[type=range]")
    slider.send_keys(Keys.HOME)
    weakest = wait_for(browser, _STEERED)
    slider.send_keys(Keys.END)
    strongest = wait_for(browser, _STEERED)
    assert weakest != strongest
    head = browser.find_element(By.CSS_SELECTOR, "table.figures th[scope=col] button")
    head.click()
    assert browser.execute_script("return document.querySelectorAll('table.sorted').length") == 1
    assert_no_console_errors(browser)
    keep_screenshot(browser, "report")


def test_a_large_report_fits_a_phone_and_its_links_open_what_they_lead_to(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    make_big_run(tmp_path / "run", models=2, test=8, seeds=1)
    page = write_report(tmp_path / "run")
    phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    open_file(browser, page)
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    visible = "return [...document.querySelectorAll(arguments[0])].filter(e => e.offsetParent).length"
    assert browser.execute_script(visible, ".narrow") > 0
    assert browser.execute_script(visible, ".wide") == 0
    sizes = """return [...document.querySelectorAll('.narrow text')].filter(e => e.getClientRects().length)
        .map(e => parseFloat(getComputedStyle(e).fontSize) * e.ownerSVGElement.getBoundingClientRect().width
                  / e.ownerSVGElement.viewBox.baseVal.width)"""
    assert min(browser.execute_script(sizes)) > 9  # pixels: words in charts can be read
    keep_screenshot(browser, "report-phone", whole_page=False)
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    assert browser.execute_script(_BROKEN_WORDS) == []
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    open_file(browser, page)
    assert browser.execute_script(visible, ".narrow") == 0
    nav = browser.find_element(By.CSS_SELECTOR, 'nav a[href="#table"]')
    nav.click()  # a link opens the folded part that it leads to
    assert wait_for(browser, "return document.querySelector('#table > details').open")
    browser.execute_script(_OPEN_PARTS)
    last = browser.find_elements(By.CSS_SELECTOR, "#answers details.model[open] .links a")[-1]
    target = last.get_attribute("href").rpartition("#")[2]
    shown = "const e = document.getElementById(arguments[0]); return e.closest('details').open"
    browser.execute_script(
        "document.querySelectorAll('#answers details.model details').forEach(d => { d.open = false })"
    )
    assert not browser.execute_script(shown, target)
    browser.execute_script("arguments[0].click()", last)
    assert wait_for(browser, shown, target)
    families = "return document.querySelectorAll('#table details.model[open] tr.family').length"
    assert browser.execute_script(families) == 8
    browser.find_element(By.CSS_SELECTOR, "#table th[scope=col]:nth-child(2) button").click()
    ordered = """return [...document.querySelectorAll('#table details.model[open] tbody tr[data-arm] td:nth-child(2)')]
        .map(cell => Number(cell.dataset.value))"""
    values = browser.execute_script(ordered)
    assert values == sorted(values, reverse=True)
    assert len(values) > 35
    assert_no_console_errors(browser)
    keep_screenshot(browser, "report-large")


def test_a_figure_is_saved_as_it_is_seen(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    make_run(tmp_path / "run")
    folder = tmp_path / "saved"
    folder.mkdir()
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    open_file(browser, write_report(tmp_path / "run"))
    figure = browser.find_element(By.CSS_SELECTOR, "#verdict figure .wide svg")
    for button in browser.find_elements(By.CSS_SELECTOR, "#verdict .save button")[:2]:
        button.click()
    picture, drawing = folder / "elicit-run-verdict-cued.png", folder / "elicit-run-verdict-cued.svg"
    deadline = time.monotonic() + 20
    while not (picture.exists() and drawing.exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    root = ElementTree.parse(drawing).getroot()
    shown = [mark.get_attribute("data-value") for mark in figure.find_elements(By.CSS_SELECTOR, "[data-value]")]
    assert [mark.get("data-value") for mark in root.iter() if mark.get("data-value")] == shown
    assert "mean_steering" in "".join(root.itertext())
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert (width, height) == (round(2 * float(root.get("width", 0))), round(2 * float(root.get("height", 0))))
    assert_no_console_errors(browser)


def test_without_scripts_a_report_is_whole(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    make_run(tmp_path / "run", test=8)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_file(browser, write_report(tmp_path / "run"))
        assert browser.find_element(By.CSS_SELECTOR, "#verdict figure .wide svg").is_displayed()
        assert browser.find_elements(By.CSS_SELECTOR, ".save") == []
        browser.find_element(By.CSS_SELECTOR, "#table summary").click()
        assert browser.find_element(By.CSS_SELECTOR, "#table td").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
