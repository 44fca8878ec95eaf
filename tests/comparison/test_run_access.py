"""`elicit.open_run` on a run directory and on an archive, and `elicit diff` against figures worked out by hand."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from scipy import stats

import elicit
from elicit.cli.main import run_command
from elicit.comparison.archive import write_archive
from elicit.comparison.run import open_run
from elicit.comparison.run_differences import compare_runs
from elicit.comparison.summary.worked_traces import settle_expansion
from elicit.errors import ElicitError
from tests.support.rundirs import Told, make, right, wrong

FIRST_FORMAT = Path(__file__).parent.parent / "data" / "first_format" / "archive"
DATA = {"arms": ["base", "cue_prompt"], "test": 8}
A = [1, 1, 1, 0, 0, 0, 0, 1]
B = [1, 0, 1, 1, 1, 1, 1, 1]


def _answers(correct: list[int]) -> Told:
    return Told([right() if value else wrong() for value in correct])


def _make_pair(folder: Path) -> tuple[Path, Path]:
    make(folder / "a", DATA, {"cued/base/0": _answers(A), "cued/cue_prompt/0": _answers(A)})
    make(folder / "b", {**DATA, "kl_problems": 3}, {"cued/base/0": _answers(A), "cued/cue_prompt/0": _answers(B)})
    return folder / "a", folder / "b"


def test_the_documented_figures_of_an_arm_are_those_of_a_summary(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page.partition("## Figures of an arm")[2], re.MULTILINE)
    # An arm that has the figures of some runs only: beside a floor and a budget curve, with worked solutions scored.
    arms = [*DATA["arms"], "forbid_first", "self_consistency"]
    data = {**DATA, "arms": arms, "budgets": {"self_consistency": {"n": [4]}}}
    make(tmp_path, data, {f"cued/{arm}/0": _answers(A) for arm in data["arms"]})
    metrics = {"kl": None, "neutral_perplexity": None, "worked_logprobs": {"p0": math.log(0.5)}}
    (tmp_path / "cells/cued/cue_prompt/0/metrics.jsonl").write_text(json.dumps(metrics) + "\n")
    with open_run(tmp_path) as run:
        arm = run.computed_summary["models"]["cued"]["tasks"]["addition"]["arms"]["cue_prompt"]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(arm)
    settled = settle_expansion({"arm_ids": [], "k": 1}, {}, [])
    assert sorted(re.findall(r"`expansion\.(\w+)`", " ".join(rows))) == sorted(settled)


def _score_statistic(gained: int, lost: int, n: int, delta: float) -> float:
    """Tango's statistic from its definition: the restricted probability by maximising the likelihood on a grid."""
    low = max(0.0, -delta)
    best, q = -math.inf, 0.0
    for i in range(1, 20000):
        p_lost = low + i * (1 - abs(delta)) / 2 / 20000
        p_gained = p_lost + delta
        rest = 1 - p_lost - p_gained
        if min(p_lost, p_gained, rest) <= 0:
            continue
        value = gained * math.log(p_gained) + lost * math.log(p_lost) + (n - gained - lost) * math.log(rest)
        if value > best:
            best, q = value, p_lost
    return (gained - lost - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))


def test_a_difference_is_that_worked_out_by_hand(tmp_path: Path) -> None:
    with open_run(_make_pair(tmp_path)[0]) as first, open_run(tmp_path / "b") as second:
        result = compare_runs(first, second)
    by_arm = {arm.arm: arm for arm in result.arms}
    same, other = by_arm["base"], by_arm["cue_prompt"]
    assert (same.difference.value, same.identical_rows, same.rows) == (0, 8, (8, 8))
    gained, lost = 4, 1  # of A and B above
    assert (other.first, other.second, other.difference.n) == (4 / 8, 7 / 8, 8)
    assert other.difference.value == (gained - lost) / 8
    assert other.difference.p == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)
    assert other.identical_rows == 3
    assert other.difference.ci is not None
    for bound, sign in zip(other.difference.ci, (1, -1), strict=True):
        assert sign * _score_statistic(gained, lost, 8, bound) == pytest.approx(1.95996, abs=2e-3)
    assert result.spec == {"kl_problems": (32, 3)}


def test_the_command_prints_a_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    first, second = map(str, _make_pair(tmp_path))
    assert run_command(["diff", first, second]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("cued/cue_prompt")]
    assert line.split()[1:5] == ["addition", "0.500", "0.875", "+0.375"]
    assert "  kl_problems: 32 -> 3" in out.splitlines()
    assert run_command(["diff", second, first, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [arm["difference"] for arm in figures["arms"]] == [0, -0.375]
    assert figures["spec"]["kl_problems"] == {"first": 3, "second": 32}


def test_arms_of_one_run_alone_are_listed(tmp_path: Path) -> None:
    first, _ = _make_pair(tmp_path)
    make(
        tmp_path / "c",
        {**DATA, "arms": ["base", "min_p"]},
        {name: _answers(A) for name in ("cued/base/0", "cued/min_p/0")},
    )
    result = compare_runs(open_run(first), open_run(tmp_path / "c"))
    assert (result.only_first, result.only_second) == (("cued/cue_prompt",), ("cued/min_p",))
    assert result.spec["arms.min_p.method"] == (None, "min_p")
    assert [arm.arm for arm in result.arms] == ["base"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"task": "mod_chain"}, "the target task of .* is 'addition', that of .* is 'mod_chain'"),
        ({"task": {"task": "addition", "digits": 4}}, "have no test problem of 'addition' in common"),
        ({"models": ["incapable"]}, "have no finished arm of one model in common"),
    ],
)
def test_runs_that_cannot_be_paired_are_refused(
    data: dict, message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    first, _ = _make_pair(tmp_path)
    model = data.get("models", ["cued"])[0]
    make(tmp_path / "c", {**DATA, **data}, {f"{model}/base/0": _answers(A)})
    if "digits" in str(data):  # other problems have other ids
        path = tmp_path / "c" / "cells/cued/base/0/rows/addition.jsonl"
        path.write_text(path.read_text().replace('"problem": "p', '"problem": "q'))
    with pytest.raises(ElicitError, match=message):
        compare_runs(open_run(first), open_run(tmp_path / "c"))
    assert run_command(["diff", str(first), str(tmp_path / "c")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_archive_reads_as_its_run_did(tmp_path: Path) -> None:
    folder, _ = _make_pair(tmp_path)
    write_archive(folder, tmp_path / "archive")
    with elicit.open_run(folder) as run, elicit.open_run(tmp_path / "archive") as packed:
        assert packed.is_archive
        assert not run.is_archive
        assert [cell.name for cell in run.cells()] == ["cued/base/0", "cued/cue_prompt/0"]
        for cell, twin in zip(run.cells(), packed.cells(), strict=True):
            assert cell.rows() == twin.rows()
            assert cell.status == twin.status
            assert cell.is_complete
        assert run.computed_summary == packed.summary
        temporary = packed.folder
    assert not temporary.exists()
    assert folder.exists()


def test_cells_say_what_they_hold() -> None:
    with elicit.open_run(FIRST_FORMAT) as run:
        assert [cell.name for cell in run.cells(arms=["sft"])] == ["cued/sft/0", "cued/sft/1"]
        cell = run.cell("cued", "sft", seed=1)
        assert (cell.state, cell.method, cell.tasks) == ("done", "sft", ("addition",))
        rows = cell.rows()
        assert [row.sample for row in rows].count(0) == 12
        assert {row.seed for row in rows} == {1}
        assert sorted(cell.checkpoints)[:2] == [0, 1]
        assert set(cell.prompts) == {row.prompt_hash for row in rows}
        problem = cell.find_problem(rows[0])
        assert problem is not None
        assert cell.find_prompt(rows[0]).prompt == problem.prompt
        with pytest.raises(ElicitError, match="is an archive, which keeps no policies"):
            cell.policy()


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ElicitError, match="is not a folder"):
        elicit.open_run(tmp_path / "nowhere")
    run = open_run(_make_pair(tmp_path)[0])
    with pytest.raises(ElicitError, match=r"unknown arm 'bas'. Did you mean 'base'"):
        run.cells(arms=["bas"])
    with pytest.raises(ElicitError, match="unknown task 'x'"):
        run.cell("cued", "base").rows("x")
    with pytest.raises(ElicitError, match="unknown seed of cued/base 7"):
        run.cell("cued", "base", seed=7)
