"""What browser tests do over and over: wait on a condition, read the console, keep a picture.

@pytest.mark.browser
def test_page(browser, tmp_path):
    open_file(browser, tmp_path / "page.html")
    wait_for(browser, "return document.querySelectorAll('tr').length > 3")
    keep_screenshot(browser, "my-page")
    assert_no_console_errors(browser)
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Literal

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"


def open_file(browser: Any, path: Path) -> None:
    """Open a file as a person would, from file://."""
    browser.get(path.resolve().as_uri())


def wait_for(browser: Any, script: str, *arguments: Any, seconds: float = 30) -> Any:
    """Run `script` again and again until it returns something true, and return that.

    Raises:
        TimeoutError: with the script and the console's last lines, when it never does.
    """
    from selenium.common.exceptions import JavascriptException, TimeoutException
    from selenium.webdriver.support.ui import WebDriverWait

    waiting = WebDriverWait(browser, seconds, poll_frequency=0.1, ignored_exceptions=[JavascriptException])
    try:
        return waiting.until(lambda driver: driver.execute_script(script, *arguments))
    except TimeoutException:
        last = "\n".join(entry["message"] for entry in browser.get_log("browser")[-10:])
        raise TimeoutError(
            f"after {seconds} s this is still not true: {script}\nconsole: {last or '(empty)'}"
        ) from None


def console_errors(browser: Any, *, about: str = "") -> list[str]:
    """Severe lines of the console since the last look; with `about`, only those that mention it."""
    lines = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    return [line for line in lines if about in line]


def assert_no_console_errors(browser: Any, *, about: str = "") -> None:
    """No script error, no refused or failed request (a page that asks for anything by network fails here)."""
    errors = console_errors(browser, about=about)
    assert not errors, "\n".join(errors)


def colours(browser: Any, scheme: Literal["light", "dark"]) -> None:
    """Show pages as a person with this colour preference sees them."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def keep_screenshot(browser: Any, name: str, *, whole_page: bool = True) -> Path:
    """Keep a picture in build/screenshots/NAME.png: of the whole page, or of what the window shows."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    asked = {"format": "png", "captureBeyondViewport": whole_page}
    if whole_page:
        size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        asked["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    path.write_bytes(base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", asked)["data"]))
    return path
