"""The table on stdout, and what every reader of a summary does with nulls."""

from __future__ import annotations

import copy
import io
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elicit.report import forest_html, terminal
from elicit.report.charts import frontier, gap, leak, pass_at_k
from elicit.report.data.summary_view import read_panels
from elicit.report.html.costs import render_arm_descriptions, render_budget_table
from elicit.report.html.tables import render_results_table, render_side_effects
from elicit.report.verdict import judge_summary, write_verdict
from tests.report.support import EDIT, arm, estimate, summary
from tests.report.synthetic import big_summary, entry

RICH = summary(
    mean_steering=arm(
        0.9, steering=[EDIT.format("first")], pass_at_k={"1": estimate(0.5, (0.4, 0.6)), "4": estimate(0.9)}
    ),
    other=arm(0.3, kl={"task": {"base_arm": estimate(0.1)}, "neutral": None}, off_target={"chains": estimate(0.2)}),
    mean_steering__random_vector=arm(0.05, method="random_vector"),
    grpo=entry("grpo", base=0.05, top=0.95, teaches=False, model="m")
    | {"failed_seeds": [{"seed": 1, "error": "step 3: NaN"}], "status": "failed"},
    lost={"method": "unheard_of", "status": "failed", "error": "no \x1b[31m[bold]luck\u202e"},
)


def shown(found: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    terminal.show(found)
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = shown(RICH, capsys)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for figure in ("90.0 [86, 94]", "0.94 [0.89, 0.99]", "+30.0 [26, 34]", "100 × 3"):
        assert figure in text


def test_plain_text_without_a_terminal_and_foreign_text_made_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(RICH, capsys)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "lost failed: no <U+001B>[31m[bold]luck<U+202E>" in text


def test_controls_stand_below_their_parents(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = shown(RICH, capsys).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("mean_steering "))
    assert lines[at + 1].startswith("  /random_vector ")
    assert any(line.startswith("lost (failed)") for line in lines)


def test_nulls_are_dashes_and_the_reason_is_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = shown(summary(ceiling=None, limit=7, mean_steering=arm(0.9, ceiling=None)), capsys)
    row = next(line for line in text.splitlines() if line.startswith("mean_steering "))
    assert row.split("]")[1].split()[0] == "–"
    assert "gap recovered is withheld: cue - base = 0.000 does not exceed two standard errors" in text
    assert "LIMITED to 7 test problems" in text
    assert "ceilings: cue prompt 5.0 % [1, 9] · uniform guesser pass@4 2.0 %" in text


def test_an_ascii_stdout_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    terminal.show(RICH)
    sys.stdout.flush()
    assert b"100 x 3" in raw.getvalue()


def test_forty_arms_fit_a_narrow_terminal_in_one_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    lines = shown(big_summary(1), capsys).splitlines()
    assert max(map(len, lines)) <= 90
    assert len(lines) < 110
    assert sum(line.startswith("grpo ") for line in lines) == 1
    assert any(line.startswith("best_of_n * ") for line in lines)
    assert any("in report.html, or in a terminal of" in line for line in lines)
    assert lines[lines.index("Reinforcement learning") + 1].startswith("grpo ")
    monkeypatch.setenv("COLUMNS", "240")
    wide = shown(big_summary(1), capsys)
    assert "training tokens" in wide
    assert "350.0 k" in next(line for line in wide.splitlines() if line.startswith("grpo "))


def test_failed_seeds_are_shown_beside_the_figures_of_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = shown(RICH, capsys)
    assert "grpo (1 seed failed)" in text
    assert "grpo, seed 1, failed: step 3: NaN" in text


def _paths(data: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every node of the summary below its root."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [found for key, value in items for found in ((*place, key), *_paths(value, (*place, key)))]


PATHS = _paths(RICH)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(PATHS), max_size=12), st.booleans())
def test_no_null_and_no_missing_entry_breaks_a_reader(places: list[tuple[Any, ...]], remove: bool) -> None:
    found = copy.deepcopy(RICH)
    for place in places:
        node: Any = found
        for key in place[:-1]:
            node = node.get(key) if isinstance(node, dict) else node[key] if isinstance(node, list) else None
        if isinstance(node, dict) and remove:
            node.pop(place[-1], None)
        elif isinstance(node, dict | list):
            node[place[-1]] = None
    before, sys.stdout = sys.stdout, io.StringIO()
    try:
        terminal.show(found)
    finally:
        sys.stdout = before
    assert "nan" not in forest_html(found).lower()
    assert all(write_verdict(verdict).sentences for verdict in judge_summary(found))
    for panel in read_panels(found):
        tables = [render_results_table(panel), render_side_effects(panel), render_budget_table(panel)]
        charts = [
            gap.render_gap_chart(panel),
            frontier.render_frontier(panel),
            pass_at_k.render_pass_at_k(panel),
            pass_at_k.render_expansion(panel),
            leak.render_leak_chart(panel),
        ]
        assert not any("None" in page or "nan" in page for page in (*tables, *charts))
        assert "None" not in render_arm_descriptions([panel], {}, {})
        for control in panel.arms:
            if control.gap.value is None:
                assert f'data-arm="{control.name}"' in tables[0]
