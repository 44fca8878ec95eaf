"""A run's report in a real browser: nothing is refused, and the answers of a steering arm can be slid through."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from elicit.report import write_report
from tests.browser.support import assert_no_console_errors, keep_screenshot, open_file, wait_for
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
