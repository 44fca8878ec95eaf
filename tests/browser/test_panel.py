"""The steering panel as people meet it: as a static page, and live in JupyterLab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from elicit.panel import Grid, write_grid_page
from elicit.panel.comparison import Pair, Shift, Side, SideBySide, Token
from elicit.panel.strengths import StrengthPoint, StrengthSeries
from elicit.tasks import Verdict
from tests.browser.jupyter import jupyterlab, run_all
from tests.browser.support import (
    assert_no_console_errors,
    colours,
    keep_screenshot,
    open_file,
    wait_for,
)

pytestmark = pytest.mark.browser

HOSTILE = [
    "</script><script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    "\"'`&amp;&lt;",
    "\u202eright to left\u202c",
    "nul\0bell\a",
    "half \ud800 pair",
    "\u2028 separator",
    "${window.pwned = 1}",
    " two  spaces ",
]


def side(texts: list[str], *, correct: bool) -> Side:
    tokens = tuple(Token(text, False, i % 2 == 0, False) for i, text in enumerate(texts))
    return Side("".join(texts), tokens, "length", Verdict(None, correct, False, None), 3)


def hostile_grid() -> Grid:
    """Two strengths of two edits, in which every string is hostile."""

    def result(texts: list[str]) -> SideBySide:
        shifts = tuple(Shift(0.1 * i, 0.5, float("nan"), text, 0.25) for i, text in enumerate(texts))
        pair = Pair("prompt " + "".join(HOSTILE), side(HOSTILE[::-1], correct=False), side(texts, correct=True), shifts)
        return SideBySide((pair,), (HOSTILE[0],), HOSTILE[1], 0, 1.0, True)

    points = StrengthPoint(0.0, 0.0, result(HOSTILE[::-1])), StrengthPoint(2.0, 41.5, result(HOSTILE))
    return Grid(tuple(StrengthSeries(label, "residual norms", points) for label in HOSTILE[:2]))


def steered_tokens(browser: Any) -> list[str]:
    script = "return [...document.querySelectorAll('.pair .side:last-child .token')].map(token => token.textContent)"
    return list(browser.execute_script(script))


def as_shown(text: str) -> str:
    """What the page writes for a text: characters that cannot be seen by their names."""
    unseen = {"\u202e": "U+202E", "\u202c": "U+202C", "\0": "U+0000", "\a": "U+0007", "\ud800": "U+D800"}
    return "".join(unseen.get(character, character) for character in text).replace("\u2028", "U+2028")


def test_hostile_strings_stay_text(browser: Any, tmp_path: Path) -> None:
    open_file(browser, write_grid_page(hostile_grid(), tmp_path / "hostile.html", title=HOSTILE[0], note=HOSTILE[1]))
    assert steered_tokens(browser) == [as_shown(text) for text in HOSTILE]
    prompt = browser.execute_script("return document.querySelector('.pair .prompt').textContent")
    assert prompt == as_shown("prompt " + "".join(HOSTILE))
    assert browser.title == HOSTILE[0]
    options = browser.execute_script(
        "return [...document.querySelectorAll('option')].map(option => option.textContent)"
    )
    assert options == HOSTILE[:2]
    assert browser.execute_script("return window.pwned === undefined && document.querySelector('img') === null")
    assert browser.execute_script("return document.querySelectorAll('script').length") == 1  # the data is taken out
    titles = browser.execute_script("return [...document.querySelectorAll('.token')].map(token => token.title)")
    assert not any("\u202e" in title or "\0" in title for title in titles)
    assert_no_console_errors(browser)
    keep_screenshot(browser, "panel-hostile")


def move_slider(browser: Any, by: int) -> None:
    """With the keyboard, as a person without a mouse does."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    slider = browser.find_element(By.CSS_SELECTOR, ".elicit-panel input[type=range]")
    slider.send_keys((Keys.ARROW_RIGHT if by > 0 else Keys.ARROW_LEFT) * abs(by))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of the organism `cued`: a feature that brings the trace out, and the same at all positions."""
    import elicit
    import saes
    from elicit.comparison.spec import build_task
    from elicit.panel import compare_strengths
    from elicit.steering import feature_edit

    model = elicit.load("cued")
    task = build_task({"task": "addition"}, model.card.get("dialect"), where="test")
    problems = task.problems("train", 64)
    sae = saes.load("cued/L1")
    cued, plain = ([getattr(problem, name) for problem in problems] for name in ("cue_prompt", "prompt"))
    contrast = sae.encode(model.residuals(cued)[1]).mean(0) - sae.encode(model.residuals(plain)[1]).mean(0)
    feature = sae.feature(int(contrast.argmax()))
    edits = {
        f"{feature.label} at {form}": feature_edit(feature, 1, unit=model.residual_norms.medians[1], positions=form)
        for form in ("first", "all")
    }
    found = compare_strengths(model, edits, [-2, -1, 0, 0.5, 1, 1.5, 2, 3], task.problems("select", 4), task=task)
    folder = tmp_path_factory.mktemp("exported")
    note = "Computed beforehand: the slider chooses among these strengths. Right answers are counted under each."
    return write_grid_page(found, folder / "panel.html", title="Steering cued, side by side", note=note)


def test_the_slider_changes_the_text(browser: Any, exported: Path) -> None:
    open_file(browser, exported)
    strong = steered_tokens(browser)
    assert strong.count("<think>") == 4
    assert "right: base 0, steered 4 of 4" in browser.execute_script(
        "return document.querySelector('.tally').textContent"
    )
    for scheme in ("light", "dark"):
        colours(browser, scheme)  # type: ignore[arg-type]
        wait_for(browser, "return document.querySelector('.elicit-panel').dataset.theme === arguments[0]", scheme)
        keep_screenshot(browser, f"panel-page-{scheme}")
    move_slider(browser, -5)
    assert (
        browser.execute_script("return document.querySelector('.amount').textContent")
        == "0 residual norms (absolute 0)"
    )
    assert "<think>" not in steered_tokens(browser)
    assert browser.execute_script("return document.querySelectorAll('.pair .token.changed').length") == 0
    move_slider(browser, 5)
    assert steered_tokens(browser) == strong
    choose = "const s = document.querySelector('select'); s.selectedIndex = 1; s.dispatchEvent(new Event('change'))"
    browser.execute_script(choose)
    assert "right: base 0, steered 0 of 4" in browser.execute_script(
        "return document.querySelector('.tally').textContent"
    )
    assert_no_console_errors(browser)


def test_tokens_are_read_with_the_keyboard(browser: Any, exported: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_file(browser, exported)
    tokens = browser.find_element(By.CSS_SELECTOR, ".pair .side:last-child .tokens")
    tokens.send_keys(Keys.ARROW_RIGHT)
    readout = browser.execute_script("return document.querySelector('.readout').textContent")
    assert readout.startswith("steered, token 1 ‘<think>’ · KL ")
    assert "base’s first choice ‘#’" in readout
    tokens.send_keys(Keys.END)
    assert "end mark" in browser.execute_script("return document.querySelector('.readout').textContent")


def test_narrow_windows_stack_the_sides(browser: Any, exported: Path) -> None:
    browser.set_window_size(520, 900)
    open_file(browser, exported)
    wide = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert wait_for(browser, wide)
    keep_screenshot(browser, "panel-page-narrow")


CELL = """
import pandas as pd

import elicit
import saes
from elicit.comparison.spec import build_task
from elicit.panel import SteeringPanel

model = elicit.load("cued")
task = build_task({"task": "addition"}, model.card.get("dialect"), where="notebook")
layers = [saes.load(f"cued/L{layer}") for layer in (1, 0)]
problems = task.problems("train", 64)
cued = layers[0].encode(model.residuals([problem.cue_prompt for problem in problems])[1])
plain = layers[0].encode(model.residuals([problem.prompt for problem in problems])[1])
table = pd.DataFrame({"contrast": (cued.mean(0) - plain.mean(0)).tolist(), "cued": cued.mean(0).tolist()})
table["label"] = ["<b>hostile</b> label" if i % 2 else "a label" for i in table.index]
best = int(table["contrast"].idxmax())
panel = SteeringPanel(model, layers, task, table=table, feature=(best + 1) % 512)
panel
"""


@pytest.fixture
def lab(browser: Any, tmp_path: Path) -> Any:
    """A notebook with the panel, run in JupyterLab; the browser shows it."""
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL.strip())])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    folder, home = tmp_path / "notebooks", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    nbformat.write(notebook, folder / "panel.ipynb")
    browser.set_window_size(1400, 1500)
    with jupyterlab(folder, home) as address:
        run_all(browser, address.format(path="panel.ipynb"))
        wait_for(browser, "return document.querySelector('.elicit-panel .token')", seconds=120)
        yield browser
        browser.get("about:blank")


#: Shorthands for scripts in the page.
SHORT = """
const root = document.querySelector('.elicit-panel');
const settled = root.getAttribute('aria-busy') === 'false';
const tally = root.querySelector('.tally').textContent;
const pairs = root.querySelectorAll('.pair:not(.heads)').length;
const rows = [...root.querySelectorAll('.finder tbody tr')];
"""


def now(browser: Any, expression: str) -> Any:
    return browser.execute_script(f"{SHORT} return {expression}")


def until(browser: Any, expression: str) -> None:
    wait_for(browser, f"{SHORT} return settled && {expression}", seconds=60)


def part(browser: Any, label: str) -> Any:
    from selenium.webdriver.common.by import By

    return browser.find_element(By.CSS_SELECTOR, f".elicit-panel [aria-label='{label}']")


def type_into(browser: Any, label: str, text: str) -> None:
    from selenium.webdriver.common.keys import Keys

    box = part(browser, label)
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(text or Keys.DELETE)


def test_live_in_jupyterlab(lab: Any) -> None:
    """Choose a feature by its number, move the strength, see the text change; then errors, search, another theme."""
    from selenium.webdriver.common.keys import Keys

    assert "<think>" not in steered_tokens(lab)
    best, second = now(lab, "rows.slice(0, 2).map(row => row.cells[0].textContent)")  # sorted by contrast
    type_into(lab, "feature", best)
    type_into(lab, "strength, exact", "2")
    until(lab, "tally.includes('right: base 0, steered 4 of 4')")
    assert steered_tokens(lab).count("<think>") == 4
    assert now(lab, "root.querySelector('.amount').textContent.startsWith('residual norms (adds ')")
    keep_screenshot(lab, "panel-jupyterlab-light", whole_page=False)

    # Keys move the slider, and not the notebook's cells.
    part(lab, "strength").send_keys(Keys.ARROW_LEFT * 40)
    until(lab, "tally.includes('steered 0 of 4')")
    assert float(part(lab, "strength").get_attribute("value")) == pytest.approx(0)

    # What cannot be computed is said in the panel, what it still shows is marked, and the next change computes again.
    type_into(lab, "strength, exact", "2")
    part(lab, "prompts").send_keys("your")
    type_into(lab, "your own prompt", "")
    until(lab, "root.querySelector('.trouble').textContent.includes('the prompt is empty')")
    assert now(lab, "root.classList.contains('stale')")
    part(lab, "your own prompt").send_keys("Q:12+34", Keys.ENTER, "A:")
    until(lab, "pairs === 1 && !root.classList.contains('stale')")
    assert "".join(steered_tokens(lab)).startswith("<think>")

    # Search by words, choose with the arrow keys.
    part(lab, "prompts").send_keys("4")
    type_into(lab, "search features", "<b>hostile")
    words = now(lab, "rows.map(row => row.cells[1].textContent)")
    assert (len(words), set(words)) == (200, {"<b>hostile</b> label"})
    type_into(lab, "search features", second)
    part(lab, "search features").send_keys(Keys.ARROW_DOWN, Keys.ENTER)
    until(lab, f"pairs === 4 && root.querySelector('.edits').textContent.includes('/{second} at layer')")

    lab.execute_script("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    until(lab, "root.dataset.theme === 'dark' && !document.querySelector('#jupyterlab-splash')")
    keep_screenshot(lab, "panel-jupyterlab-dark", whole_page=False)
    assert_no_console_errors(lab)
    cells = "window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells.map(cell => cell.cell_type)"
    assert now(lab, cells) == ["code"]  # no key has reached the notebook
