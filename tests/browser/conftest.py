"""A headless Chromium without a network, shared by the browser tests. Run them with `make test-browser`.

Fixture `browser`: a selenium Chrome driver on Debian's chromium and chromium-driver, on a blank page, its console log
emptied. Every host but localhost resolves to nothing, and no proxy is used. Helpers are in `tests.browser.support`.
selenium is imported here only when a browser test runs, so that `make test` needs neither it nor a browser.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # continuous integration runs as root
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1",
    "--force-device-scale-factor=1",
    "--window-size=1280,1000",
)


def _program(*names: str) -> str:
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.fail(f"browser tests need {names[0]}. Type: apt-get install chromium chromium-driver", pytrace=False)
    return found


@pytest.fixture(scope="session")
def _driver() -> Iterator[Any]:
    """One browser process for the whole session: starting one takes seconds."""
    try:
        from selenium import webdriver
    except ImportError:
        pytest.fail("browser tests need selenium. Type: pip install 'elicit-reasoning[browser]'", pytrace=False)
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "localhost,127.0.0.1"
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium", "chromium-browser", "google-chrome")
    for option in _OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(prefix="elicit-chromium-") as profile:
        options.add_argument(f"--user-data-dir={profile}")
        driver = webdriver.Chrome(options, webdriver.ChromeService(_program("chromedriver")))
        driver.set_page_load_timeout(120)
        yield driver
        driver.quit()


@pytest.fixture
def browser(_driver: Any) -> Iterator[Any]:
    """The driver on a blank page, light colours, 1280 x 1000, with an empty console log."""
    from tests.browser.support import colours

    _driver.set_window_size(1280, 1000)
    colours(_driver, "light")
    _driver.get("about:blank")
    _driver.get_log("browser")
    yield _driver
    _driver.get("about:blank")


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """build/screenshots, where pictures are kept for people to look at."""
    from tests.browser.support import SCREENSHOTS

    return SCREENSHOTS
