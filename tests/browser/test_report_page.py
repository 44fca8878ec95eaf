"""A run's report in a real browser: nothing is refused, and the answers of a steering arm can be slid through."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from elicit.report import write_report
from tests.browser.support import assert_no_console_errors, keep_screenshot, open_file, wait_for
from tests.report.synthetic import make_big_run
from tests.support.comparisons import reference

pytestmark = pytest.mark.browser

_STEERED = (
    "return [...document.querySelectorAll('details[open] .pair .side:last-child')].map(s => s.textContent).join()"
)


def test_a_report_opens_and_its_answers_follow_the_slider(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_file(browser, write_report(Path(shutil.copytree(reference(), tmp_path / "run"))))
    assert_no_console_errors(browser)
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
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    open_file(browser, page)
    assert browser.execute_script(visible, ".narrow") == 0
    last = browser.find_elements(By.CSS_SELECTOR, "#answers details.model[open] .links a")[-1]
    target = last.get_attribute("href").rpartition("#")[2]
    shown = "const e = document.getElementById(arguments[0]); return e.closest('details').open"
    browser.execute_script(
        "document.querySelectorAll('#answers details.model details').forEach(d => { d.open = false })"
    )
    assert not browser.execute_script(shown, target)
    browser.execute_script("arguments[0].click()", last)
    assert wait_for(browser, shown, target)
    families = "return document.querySelectorAll('#table details[open] tr.family').length"
    assert browser.execute_script(families) == 8
    browser.find_element(By.CSS_SELECTOR, "#table th[scope=col]:nth-child(2) button").click()
    ordered = """return [...document.querySelectorAll('#table details[open] tbody tr[data-arm] td:nth-child(2)')]
        .map(cell => Number(cell.dataset.value))"""
    values = browser.execute_script(ordered)
    assert values == sorted(values, reverse=True)
    assert len(values) > 35
    assert_no_console_errors(browser)
    keep_screenshot(browser, "report-large")
