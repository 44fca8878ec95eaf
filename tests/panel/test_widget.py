"""The panel's Python side: what the page asks, and what it is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import elicit
from elicit.errors import ElicitError
from elicit.methods.steering.sae_steering import SaeSteering
from elicit.panel import SteeringPanel, compare_side_by_side
from elicit.panel import static as pages
from elicit.panel.widget import _resolve_prompts
from elicit.sampling import Decoding
from elicit.text import script_json
from tests.panel.support import small_sae
from tests.support.forked import forked
from tests.support.models import tiny_model

DECODING = Decoding(max_new_tokens=8)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


def panel_of(model: Any, **options: Any) -> SteeringPanel:
    return SteeringPanel(model, small_sae(model), ["ab", "the cat"], decoding=DECODING, **options)


def ask(panel: SteeringPanel, **changes: object) -> dict[str, Any]:
    """What the page does: the whole state of its controls, with a request's name."""
    state = json.loads(panel._shown)["setting"] | changes
    panel._asked = json.dumps({**state, "request": "r-1"})
    return json.loads(panel._shown)


def test_a_wish_is_answered_with_the_comparison(model: Any) -> None:
    panel = panel_of(model)
    told = ask(panel, feature=3, strength=2.5, positions="first:2", seed=4, temperature=0.7)
    assert told["request"] == "r-1"
    assert panel.steering.label == "feature small/L1/3"
    expected = compare_side_by_side(
        model, [panel.steering], ["ab", "the cat"], decoding=DECODING.replace(temperature=0.7), seed=4
    )
    assert panel.result == expected
    tokens = [[token["text"] for token in pair["steered"]["tokens"]] for pair in told["view"]["pairs"]]
    assert tokens == [[token.text for token in pair.steered.tokens] for pair in expected.pairs]
    kl = [token["kl"] for token in told["view"]["pairs"][0]["steered"]["tokens"]]
    assert kl == pytest.approx([shift.kl for shift in expected.pairs[0].shifts], rel=1e-3)
    assert told["unit"]["size"] == model.residual_norms.medians[1] == panel.steering.unit


def test_the_base_is_that_of_the_setting(model: Any) -> None:
    """Unsteered completions are kept between settings: each must still be the one of its seed and prompt."""
    panel = panel_of(model, strength=1.0)
    hot = DECODING.replace(temperature=1.5)
    for seed, prompt in [(0, None), (1, None), (1, "own"), (0, None)]:
        ask(panel, seed=seed, temperature=1.5, prompt=prompt)
        texts = ["ab", "the cat"] if prompt is None else [prompt]
        base = [one[0].text for one in model.sample(texts, seed=seed, decoding=hot)]
        assert [pair.base.text for pair in panel.result.pairs] == base


def test_a_bad_wish_is_answered_and_changes_nothing(model: Any) -> None:
    panel = panel_of(model, strength=1.0)
    before = panel.setting, panel.result
    told = ask(panel, feature=99)
    assert told["error"] == "SAE 'small/L1' has no feature 99. Its features are 0 to 11."
    assert "view" not in told
    assert (panel.setting, panel.result) == before
    told = ask(panel, prompt="x\ud800")  # no tokenizer takes it
    assert told["error"].startswith("panel: the prompt holds half a surrogate pair")


def test_a_fault_is_told_and_raised(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = panel_of(model)
    monkeypatch.setattr("elicit.panel.widget.compare_side_by_side", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ask(panel, strength=3)
    assert json.loads(panel._shown)["error"] == "internal fault, ZeroDivisionError: division by zero"


def test_an_sae_that_is_not_linear_is_only_added(model: Any) -> None:
    panel = SteeringPanel(model, small_sae(model, linear=False), "ab", decoding=DECODING)
    assert json.loads(panel._setup)["saes"][0]["linear"] is False
    assert "cannot be edited with mode clamp" in ask(panel, mode="clamp")["error"]
    assert "error" not in ask(panel, mode="add", strength=2)


def test_a_strength_means_what_it_means_to_the_method() -> None:
    """The panel's edit is that of the method `sae_steering` with the same feature and strength, to the bit."""
    model, task = elicit.load("cued"), elicit.tasks.get("addition")
    for mode, strength in (("add", 2.0), ("clamp", 1.5)):
        method = SaeSteering(layers=(1,), candidates=1, strengths=(strength,), modes=(mode,), select_problems=4)
        fitted = method.fit(model, task, seed=0, needs={}).steering[0]
        panel = SteeringPanel(model, fitted.feature.sae, task, feature=fitted.feature.index)
        panel.set(strength=strength, mode=mode)
        assert panel.steering.sha256 == fitted.sha256
        assert panel.result.firings == 4


def test_moved_from_python(model: Any) -> None:
    panel = SteeringPanel(model, [small_sae(model), small_sae(model, layer=2)], "ab", decoding=DECODING)
    found = panel.set(sae="small/L2", feature=5, strength=-1)
    assert found is panel.result
    told = json.loads(panel._shown)
    assert told["request"] is None
    assert told["setting"] == panel.setting.__dict__
    assert panel.steering.layer == 2
    with pytest.raises(ElicitError, match="unknown SAE of this panel 'small/L3'"):
        panel.set(sae="small/L3")


def test_it_begins_with_the_best_of_the_table(model: Any) -> None:
    table = pd.DataFrame({"score": [0.1, 0.9, 0.5]}, index=[4, 7, 2])
    assert panel_of(model, table=table).setting.feature == 7
    with pytest.raises(ElicitError, match="the table of 'other' belongs to no SAE of this panel"):
        panel_of(model, table={"other": table})


def test_an_sae_of_other_weights_is_refused(model: Any) -> None:
    with pytest.raises(ElicitError, match=r"weights ffffffffffff\), but tiny-llama has weights w"):
        SteeringPanel(model, small_sae(model, weights="f" * 64), "ab")


def test_to_html_holds_its_own_strength_and_nothing_foreign(model: Any, tmp_path: Path) -> None:
    panel = panel_of(model, strength=0.7)
    text = panel.to_html(tmp_path / "page.html", strengths=[0, 1]).read_text()
    data = text.split('<script type="application/json">')[1].split("</script>")[0]
    found = json.loads(data)
    assert found["start"] == 0.7
    assert [point["strength"] for point in found["series"][0]["points"]] == [0, 0.7, 1]
    assert pages.load_assets().script_hash in text
    assert "http" not in text.replace("http-equiv", "")  # nothing is fetched


def test_labels_and_titles_stay_text(model: Any) -> None:
    hostile = "</script><script>alert(1)</script><b>\u202e\0\ud800"
    panel = panel_of(model, strength=0.5)
    text = pages.render_grid_page(panel.grid([1]), title=hostile, note=hostile)
    assert text.count("<script") == 2  # the data and the page's own
    assert text.count("&lt;b&gt;&lt;U+202E&gt;&lt;U+0000&gt;&lt;U+D800&gt;") == 3  # title, heading, note
    text.encode()


def test_what_a_run_keeps_is_shown_without_torch(model: Any, tmp_path: Path) -> None:
    grid = panel_of(model, strength=0.5).grid([1])
    kept = tmp_path / "grid.json"
    kept.write_text(script_json(grid.to_json()))
    code = (
        "import json, sys, pathlib\n"
        "from elicit.panel import static\n"
        f"print(static.render_grid_fragment(json.loads(pathlib.Path({str(kept)!r}).read_text())))\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == pages.render_grid_fragment(grid)


def test_without_the_extra_it_says_what_to_install() -> None:
    code = (
        "import sys, importlib.abc\n"
        "for name in [n for n in sys.modules if n.startswith(('elicit.panel', 'anywidget'))]: del sys.modules[name]\n"
        "class Gone(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'anywidget': raise ModuleNotFoundError(name)\n"
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'anywidget' else real(name, *a)\n"
        "sys.meta_path.insert(0, Gone())\n"
        "import elicit.panel\n"
        "elicit.panel.compare_side_by_side, elicit.panel.write_grid_page\n"  # computing and exporting need no notebook
        "try: elicit.panel.SteeringPanel\n"
        "except elicit.ElicitError as error: print(error)\n"
    )
    done = forked(code)
    assert done.code == 0, done.out
    assert done.out.strip() == (
        "the steering panel needs the package 'anywidget', which is not installed. "
        "Type: pip install 'elicit-reasoning[notebook]'"
    )


def test_a_task_is_asked_in_the_models_own_format():
    """`serial` works in other marks than `cued`, whose dialect a task has until it is bound."""
    model, task = elicit.load("serial"), elicit.tasks.get("mod_chain")
    bound, problems = _resolve_prompts(model, task, "select", 3)
    assert bound == model.bind(task)
    assert bound != task
    assert problems == list(bound.problems("select", 3))
