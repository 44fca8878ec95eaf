"""Training curves as they are drawn: seeds overlaid, long curves thinned, nulls and odd records left out."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from elicit.errors import ElicitError
from elicit.report import write_report
from elicit.report.charts import training_curves
from elicit.report.data.run_reader import load_report_run
from elicit.report.data.summary_view import read_panels
from tests.report.support import RECORDS, make_run
from tests.report.synthetic import curve


def drawn(run: Path, record: dict[str, Any]) -> str:
    """The section of the arm `sft`, whose three seeds all left this record."""
    make_run(run, test=3, records={**RECORDS, "sft": record})
    read = load_report_run(run)
    (panel,) = read_panels(read.summary)
    return training_curves.render_training_curves(panel, read.arms["cued"])


def test_seeds_are_overlaid_in_one_chart_a_measure(tmp_path: Path) -> None:
    text = drawn(tmp_path, {"curve": curve(0, steps=20)})
    charts = re.findall(r"<svg.*?</svg>", text)
    labels = [re.findall(r'aria-label="([^"]+)"', chart)[0] for chart in charts]
    assert labels == [
        f"sft: {name} over training steps"
        for name in (
            *("reward", "loss", "entropy, nats", "answer length, tokens"),
            *("cut at the limit", "groups without variance"),
        )
    ]
    for chart in charts:
        assert re.findall(r'data-seed="(\d)"', chart) == ["0", "1", "2"]
        assert len(re.findall(r"<path ", chart)) == 3
    assert "sft, seed 1: reward 0.00 at step 0, 0.32 at step 19" in charts[0]
    assert "Seeds 0, 1, 2; last logged step 19, 19, 19." in text


def test_a_long_curve_is_drawn_as_means_over_equal_stretches(tmp_path: Path) -> None:
    straight = [{"step": step, "loss": float(step)} for step in range(1000)]
    text = drawn(tmp_path, {"curve": straight})
    (path, *_) = re.findall(r'<path d="([^"]+)"', text)
    points = [tuple(map(float, pair.split())) for pair in re.findall(r"[\d.]+ [\d.]+", path)]
    assert len(points) == training_curves.MAX_STRETCHES
    steps = [b[0] - a[0] for a, b in itertools.pairwise(points)]
    assert max(steps) - min(steps) < 0.25
    assert "loss 0.00 at step 0, 999 at step 999" in text  # words keep what was logged


@pytest.mark.parametrize(
    "odd",
    [None, [], [{"loss": 1.0}], [{"step": 1, "loss": None}]],
)
def test_what_is_no_curve_is_not_drawn(tmp_path: Path, odd: Any) -> None:
    assert drawn(tmp_path, {"curve": odd}) == ""


@pytest.mark.parametrize("odd", ["x", [None, 3], [{"step": None, "loss": 2}]])
def test_a_damaged_curve_is_named(tmp_path: Path, odd: Any) -> None:
    with pytest.raises(ElicitError, match=r"status\.json: field record\.curve"):
        drawn(tmp_path, {"curve": odd})


def test_gaps_in_a_measure_leave_the_rest(tmp_path: Path) -> None:
    text = drawn(tmp_path, {"curve": [{"step": 1, "loss": 2.0, "kl": None}, {"step": 2, "loss": None}, {"step": 3}]})
    assert text.count("<svg") == 1
    assert "loss 2.00 at step 1, 2.00 at step 1" in text


def test_the_difficulty_filter_says_what_it_saw_and_set_apart(tmp_path: Path) -> None:
    pilot = {"problems": 64, "samples": 8, "kept": 31, "unsolved": ["a", "b"], "always": ["c"]}
    text = drawn(tmp_path, {"pilot": pilot})
    assert (
        "Difficulty filter, seeds 0, 1, 2: 64 problems × 8 samples; 31 kept; 2 never solved in the pilot (kept apart, "
        "not trained on); 1 always solved (left out)." in text
    )
    assert "None" not in drawn(tmp_path / "b", {"pilot": {"problems": None, "unsolved": None}})


def test_a_run_without_training_says_so(tmp_path: Path) -> None:
    make_run(tmp_path, test=3)
    assert "No arm of this run kept a training curve." in write_report(tmp_path).read_text()
