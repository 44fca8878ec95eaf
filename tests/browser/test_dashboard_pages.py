"""Feature pages and their index in a real browser, from file:// and offline: search, sorting, keys, hostile strings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import elicit
import saes
from elicit.cli.main import run_command
from elicit.comparison.spec import build_task
from saes import dashboard
from saes.dashboard import Dose, Vocabulary, write
from tests.browser.support import assert_no_console_errors, colours, keep_screenshot, open_file, wait_for
from tests.saes.hostile import STRINGS
from tests.saes.test_dashboard_pages import CURVE

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def studied() -> dashboard.Study:
    model, sae = elicit.load("cued"), saes.load("cued/L1")
    task = build_task({"task": "addition"}, model.card["dialect"], where="test")
    problems = task.problems("train", 300)
    texts = [text for p in problems for text in (p.cue_prompt + (task.worked(p) or ""), p.prompt + task.direct(p))]  # type: ignore[operator]
    found = dashboard.study(
        model.hf,
        model.tokenizer,
        sae,
        [model.encode(text) for text in texts],
        positive=[model.encode(p.cue_prompt or "") for p in problems[:32]],
        negative=[model.encode(p.prompt) for p in problems[:32]],
        text="addition",
    )
    used = found.collected.live[5]  # whichever: some feature that fires
    return dataclasses.replace(found, doses={used: [Dose("made up, add", CURVE)]}, used={used: "sae_steering"})


@pytest.fixture
def used(studied: dashboard.Study) -> int:
    """The feature that an arm is said to use."""
    return next(iter(studied.used))


@pytest.fixture(scope="module")
def folder(studied: dashboard.Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(studied, tmp_path_factory.mktemp("dashboard") / "cued").parent


def _numbers(browser: Any) -> list[int]:
    script = "return [...document.querySelectorAll('#features tbody tr:not([hidden]) th a')].map(a => +a.textContent)"
    return [int(number) for number in browser.execute_script(script)]


def _column(browser: Any, head: str) -> list[str | None]:
    script = """
      const heads = [...document.querySelectorAll("#features thead th")];
      const place = heads.findIndex(h => h.textContent === arguments[0]);
      const rows = [...document.querySelectorAll("#features tbody tr:not([hidden])")];
      return rows.map(r => r.cells[place].dataset.v ?? null);
    """
    return list(browser.execute_script(script, head))


def _click(browser: Any, head: str) -> None:
    heads = browser.find_elements("css selector", "#features thead th button")
    next(button for button in heads if button.text.rstrip(" ▲▼") == head).click()


def test_index_sorts_by_real_clicks(browser: Any, folder: Path, studied: dashboard.Study, used: int) -> None:
    open_file(browser, folder / "index.html")
    assert _numbers(browser)[0] == used
    assert len(_numbers(browser)) == len(studied.collected.live)
    for head in ("density %", "largest", "cued − uncued"):
        _click(browser, head)
        falling = [float(v) for v in _column(browser, head) if v is not None]
        assert falling == sorted(falling, reverse=True)
        _click(browser, head)
        assert [float(v) for v in _column(browser, head) if v is not None] == falling[::-1]
    _click(browser, "raises")
    words = [v for v in _column(browser, "raises") if v]
    assert words == sorted(words, key=lambda w: w.encode("utf-16-be"))
    _click(browser, "feature")
    assert _numbers(browser) == sorted(studied.collected.live)
    _click(browser, "used by")
    assert _numbers(browser)[0] == used  # unknown values stay at the end
    _click(browser, "used by")
    assert _numbers(browser)[0] == used
    keep_screenshot(browser, "dashboard-index", whole_page=False)
    assert_no_console_errors(browser)


def _texts(words: Vocabulary, effect: dashboard.Effect) -> set[str]:
    return {words.text(token) for token, _ in effect.raised}


def test_index_searches_by_typing(browser: Any, folder: Path, studied: dashboard.Study, used: int) -> None:
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.select import Select

    open_file(browser, folder / "index.html")
    body = browser.find_element("css selector", "body")
    body.send_keys("/")  # the key that people know from code hosts
    box = browser.switch_to.active_element
    assert box.get_attribute("id") == "q"
    box.send_keys(f"#{used}")
    assert _numbers(browser) == [used]
    box.send_keys(Keys.ESCAPE)
    assert len(_numbers(browser)) == len(studied.collected.live)
    box.send_keys("<think>")
    anywhere = set(_numbers(browser))
    Select(browser.find_element("css selector", "#in")).select_by_visible_text("raises")
    found = set(_numbers(browser))
    lens, words = studied.lens, studied.vocabulary
    assert lens is not None
    raising = {i for i, e in zip(lens.features, lens.effects, strict=True) if "<think>" in _texts(words, e)}
    raising &= set(studied.collected.live)
    assert found == raising < anywhere
    count = browser.find_element("css selector", "#count").text
    assert count == f"{len(found)} of {len(studied.collected.live)} features"
    keep_screenshot(browser, "dashboard-search", whole_page=False)
    Select(browser.find_element("css selector", "#in")).select_by_visible_text("anywhere")
    box.clear()
    number = studied.collected.live[-1]
    box.send_keys(str(number))
    assert _numbers(browser)[0] == number  # the feature of this number before those whose tokens hold the digits
    box.clear()
    box.send_keys("no such text")
    assert _numbers(browser) == []
    assert_no_console_errors(browser)


def test_back_from_a_page_finds_the_search_again(browser: Any, folder: Path) -> None:
    open_file(browser, folder / "index.html")
    _click(browser, "density %")
    browser.find_element("css selector", "#q").send_keys("=")
    before = _numbers(browser)
    assert len(before) > 3
    browser.find_element("link text", str(before[2])).click()
    wait_for(
        browser, "return document.querySelector('h1').textContent.startsWith(arguments[0])", f"Feature {before[2]}"
    )
    browser.back()
    wait_for(browser, "return document.querySelector('#q') !== null")
    assert browser.find_element("css selector", "#q").get_attribute("value") == "="
    assert _numbers(browser) == before
    assert_no_console_errors(browser)


def test_pages_lead_to_each_other(browser: Any, folder: Path, used: int) -> None:
    open_file(browser, folder / "features" / f"{used}.html")
    assert browser.execute_script("return document.querySelectorAll('script').length") == 0
    browser.find_element("css selector", "a[rel=next]").click()
    wait_for(browser, "return !document.title.startsWith(arguments[0])", f"feature {used} ")
    browser.find_element("css selector", "a[rel=prev]").click()
    wait_for(browser, "return document.title.startsWith(arguments[0])", f"feature {used} ")
    browser.find_element("css selector", "a[rel=up]").click()
    wait_for(browser, "return document.querySelector('#features') !== null")
    assert len(_numbers(browser)) > 100
    assert_no_console_errors(browser)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 700])
def test_page_fits_and_is_readable(browser: Any, folder: Path, used: int, scheme: Any, width: int) -> None:
    browser.set_window_size(width, 1000)
    colours(browser, scheme)
    open_file(browser, folder / "features" / f"{used}.html")
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert _worst_contrast(browser) >= 4.5
    keep_screenshot(browser, f"dashboard-page-{scheme}-{width}")
    assert_no_console_errors(browser)


def _worst_contrast(browser: Any) -> float:
    """Smallest contrast of a token's ink on its own shade over the page (WCAG 2.1)."""
    return float(
        browser.execute_script(
            """
            const parts = c => c.match(/[\\d.]+/g).map(Number);
            const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .03928 ? v / 12.92
              : ((v + .055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
            const paper = parts(getComputedStyle(document.body).backgroundColor);
            return Math.min(...[...document.querySelectorAll("mark")].map(m => {
              const style = getComputedStyle(m), [r, g, b, a = 1] = parts(style.backgroundColor);
              const ground = [r, g, b].map((v, i) => v * a + paper[i] * (1 - a));
              const [x, y] = [light(ground), light(parts(style.color))].sort((p, q) => q - p);
              return (x + .05) / (y + .05);
            }));
            """
        )
    )


def test_hostile_strings_run_nothing(browser: Any, studied: dashboard.Study, used: int, tmp_path: Path) -> None:
    words = Vocabulary(lambda i: STRINGS[i % len(STRINGS)], frozenset({1}))
    bad = dataclasses.replace(studied, vocabulary=words, text="</footer><script>alert(9)</script>")
    path = write(bad, tmp_path / "bad", features=[used, *studied.collected.live[:2]])
    for file in (path, path.parent / "features" / f"{used}.html"):
        open_file(browser, file)
        wait_for(browser, "return document.readyState === 'complete'")
        tags = browser.execute_script("return [...new Set([...document.querySelectorAll('*')].map(e => e.localName))]")
        assert not {"img", "b", "iframe"} & set(tags)
        assert "alert(1)" in browser.execute_script("return document.body.innerText")
        assert_no_console_errors(browser)  # an alert would already have stopped the driver
    keep_screenshot(browser, "dashboard-hostile")
    open_file(browser, path)
    browser.find_element("css selector", "#q").send_keys("</script>")
    assert _numbers(browser)
    assert_no_console_errors(browser)


def test_index_reads_without_scripts(browser: Any, folder: Path, used: int) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_file(browser, folder / "index.html")
        rows = browser.find_elements("css selector", "#features tbody tr")
        assert len(rows) > 100
        assert not browser.find_element("css selector", "#tools").is_displayed()
        rows[0].find_element("css selector", "a").click()
        assert str(used) in browser.title
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_512_features_stay_quick(browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line's own output for a whole SAE, dead features included."""
    everything = ",".join(map(str, range(512)))
    out = tmp_path / "all"
    assert (
        run_command(["sae", "dashboard", "cued/L1", "--features", everything, "--tokens", "5000", "--out", str(out)])
        == 0
    )
    assert capsys.readouterr().out.strip() == str(out / "index.html")
    open_file(browser, out / "index.html")
    assert len(_numbers(browser)) == 512
    took = browser.execute_script(
        "const t = performance.now(); document.querySelectorAll('#features thead th button')[1].click();"
        "document.body.offsetHeight; return performance.now() - t"
    )
    assert took < 2000
    assert_no_console_errors(browser)
