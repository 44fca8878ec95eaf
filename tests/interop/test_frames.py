"""A run as tables: the same figures as the summary, from a run directory and from an archive, without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from elicit import runs
from elicit.api import Results
from elicit.comparison.archive import write_archive
from elicit.errors import ElicitError
from elicit.interop import frames
from tests.interop import made


def test_rows_give_the_accuracies_of_the_summary(run: Path) -> None:
    rows = frames.rows_df(run)
    assert len(rows) == 2 * 12 * 4 + 2 * 12 * 3, "two tasks, four cells; three samples of each seed of sft"
    arms = runs.read_run_json(run / "summary.json")["models"]["cued"]["tasks"]["addition"]["arms"]
    own = rows[(rows["sample"] == 0) & (rows["task"] == "addition")]
    accuracy = own.groupby(["arm", "seed"])["correct"].mean()
    for arm in ("base", "sft", "mean_steering"):
        assert accuracy[arm].tolist() == pytest.approx(arms[arm]["seed_accuracies"])
    assert (rows["method"] == rows["arm"]).all()


def test_metrics_hold_every_estimate_of_the_summary(run: Path) -> None:
    metrics = frames.metrics_df(run)
    arms = runs.read_run_json(run / "summary.json")["models"]["cued"]["tasks"]["addition"]["arms"]

    def of(arm: str, task: str, metric: str) -> pd.DataFrame:
        return metrics[(metrics["arm"] == arm) & (metrics["task"] == task) & (metrics["metric"] == metric)]

    figure = of("sft", "addition", "accuracy").iloc[0]
    expected = [arms["sft"]["accuracy"], *arms["sft"]["ci"], 12]
    assert figure[["value", "low", "high", "n"]].tolist() == expected
    curve = of("sft", "addition", "pass_at_k").set_index("k")["value"]
    assert curve.to_dict() == {int(k): one["value"] for k, one in arms["sft"]["pass_at_k"].items()}
    other = of("base", "mod_chain", "accuracy").iloc[0]
    assert other["value"] == arms["base"]["off_target"]["mod_chain"]["value"]
    assert of("sft", "addition", "vs_base").iloc[0]["value"] == arms["sft"]["vs_base"]["difference"]
    assert pd.isna(of("grpo", "addition", "accuracy").iloc[0]["value"]), "unknown is missing, never 0"


def test_curves_doses_costs_and_cells(run: Path) -> None:
    curves = frames.curves_df(run)
    assert curves[curves["seed"] == 1]["loss"].tolist() == [entry["loss"] for entry in made.CURVE]
    doses = frames.dose_response_df(run)
    assert doses[["strength", "absolute", "ci_low", "features"]].values.tolist() == [
        [0.5, 5.0, 0.2, "3+7"],
        [1.0, 10.0, 0.2, "3+7"],
    ]
    costs = frames.costs_df(run).set_index("arm")
    assert costs.loc["sft", "labels"] == 8
    assert pd.isna(costs.loc["base", "labels"])
    cells = frames.cells_df(run).set_index(["arm", "seed"])
    assert cells.loc[("grpo", 1), ["state", "error"]].tolist() == ["failed", "all clipped"]
    assert cells.loc[("sft", 0), "seconds"] == 2.5


def test_an_archive_gives_the_same_frames(run: Path, tmp_path: Path) -> None:
    packed = write_archive(run, tmp_path / "packed")
    for name in frames.FRAMES:
        left, right = getattr(frames, f"{name}_df")(run), getattr(frames, f"{name}_df")(packed)
        keys = [
            column for column in ("model", "arm", "seed", "task", "problem", "sample", "metric", "k") if column in left
        ]
        pd.testing.assert_frame_equal(
            left.sort_values(keys, ignore_index=True), right.sort_values(keys, ignore_index=True), check_like=True
        )


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_files_hold_the_frames(run: Path, tmp_path: Path, form: str) -> None:
    written = frames.write_frames(run, tmp_path, form=form)  # type: ignore[arg-type]
    assert {path.stem for path in written} == set(frames.FRAMES)
    read = pd.read_csv if form == "csv" else pd.read_parquet
    for path in written:
        frame = getattr(frames, f"{path.stem}_df")(run)
        again = read(path)
        assert (len(again), list(again.columns)) == (len(frame), list(frame.columns))
        for column in frame.select_dtypes("float"):
            assert again[column].to_numpy() == pytest.approx(frame[column].to_numpy(), nan_ok=True)


def test_some_arms_and_empty_frames(run: Path) -> None:
    assert set(frames.rows_df(run, arms=["base"])["arm"]) == {"base"}
    nothing = frames.curves_df(run, arms=["base"])
    assert len(nothing) == 0
    assert {"model", "arm", "seed", "step", "loss"} <= set(nothing.columns)
    with pytest.raises(ElicitError, match=r"unknown arm 'bas'. Did you mean 'base'\?"):
        frames.costs_df(run, arms=["bas"])


def test_results_have_them_as_methods(run: Path) -> None:
    results = Results(run, runs.read_run_json(run / "summary.json"))
    for name in ("metrics", "dose_response", "curves", "costs", "cells"):
        pd.testing.assert_frame_equal(getattr(results, f"{name}_df")(), getattr(frames, f"{name}_df")(run))


def test_frames_need_no_torch(run: Path) -> None:
    probe = (
        f"import sys\nfrom elicit.interop import frames\nframes.rows_df({str(run)!r}), "
        f"frames.metrics_df({str(run)!r})\n"
        "print(*(name for name in ('torch', 'transformers', 'inspect_ai', 'lm_eval') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ""
