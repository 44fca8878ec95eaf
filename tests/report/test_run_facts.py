"""Small facts about runs: traces that a task cannot see, how to run it again, how far runs are."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path

import pytest

from elicit.report import terminal, write_report
from tests.report.reading import read
from tests.report.support import make_run
from tests.support.comparisons import elicit
from tests.support.rundirs import Told, arms_of, make, right, wrong


def _sums(folder: Path) -> dict[str, object]:
    lines = [json.dumps({"id": f"p{i}", "prompt": f"{i}+1", "answer": str(i + 1)}) for i in range(400)]
    (folder / "sums.jsonl").write_text("\n".join(lines))
    return {"task": "jsonl", "path": str(folder / "sums.jsonl")}


def test_traces_that_a_task_cannot_see_are_null(tmp_path: Path) -> None:
    arms = {"base": {"method": "base"}, "votes": {"method": "self_consistency"}}
    task = _sums(tmp_path)
    plain = {"cued/base/0": Told([right(), wrong()]), "cued/votes/0": Told([right(), right()])}
    make(tmp_path / "a", {"task": task, "arms": arms, "test": 2}, plain)
    for figures in arms_of(tmp_path / "a", label="jsonl").values():
        assert (figures["trace_rate"], figures["valid_trace_rate"]) == (None, None)
    make(tmp_path / "b", {"arms": arms, "test": 2}, plain)  # a program reads every step: none is a finding
    assert arms_of(tmp_path / "b")["base"]["trace_rate"]["value"] == 0.0
    shown = {**plain, "cued/votes/0": Told([right(valid=False), right()])}
    make(tmp_path / "c", {"task": task, "arms": arms, "test": 2}, shown)
    found = arms_of(tmp_path / "c", label="jsonl")
    assert [found[arm]["trace_rate"]["value"] for arm in arms] == [0.0, 0.5]


def test_the_commands_on_a_page_run_in_the_folder_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "my runs" / "first 'one' & two"
    make_run(run, limit=12, seeds=1)
    (commands,) = re.findall(r'<pre class="file commands">(.*?)</pre>', write_report(run).read_text(), re.DOTALL)
    verify, repeat = html.unescape(commands).splitlines()
    monkeypatch.chdir(run)
    checked = elicit(*shlex.split(verify)[1:])
    assert (checked.code, "0 differ" in checked.out) == (0, True), checked
    planned = elicit(*shlex.split(repeat)[1:], "--plan")
    assert (planned.code, planned.err) == (0, "")
    assert re.search(r"^test problems +12$", planned.out, re.MULTILINE)
    assert Path(shlex.split(repeat)[-1]).resolve() == run.parent / f"{run.name}-again"


def test_a_list_of_runs_says_how_far_they_are(tmp_path: Path) -> None:
    arms = {"base": {"method": "base"}, "votes": {"method": "self_consistency"}, "cue": {"method": "cue_prompt"}}
    done = Told([right(), right()])
    make(tmp_path / "a", {"arms": arms, "test": 2}, {"cued/base/0": done, "cued/votes/0": Told(error="no")})
    make(tmp_path / "b", {"arms": {"base": arms["base"]}, "test": 2}, {"cued/base/0": done})
    listed = elicit("ls", "runs", "--folder", tmp_path)
    assert listed.code == 0
    first, second = listed.out.splitlines()
    assert first.endswith("1 of 3 cells finished, 1 failed, 1 to do: run the same command again")
    assert second.endswith("  finished")
    (tmp_path / "a/cells/cued/base/0/status.json").write_text('{"state": "done", "seconds": "many"}')
    listed = elicit("ls", "runs", "--folder", tmp_path)
    assert (listed.code, listed.err.count("\n"), listed.out.count("\n")) == (2, 1, 1)
    assert "status.json: field seconds: " in listed.err


def test_traces_are_not_printed_where_the_task_cannot_see_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path)
    path = tmp_path / "summary.json"
    for is_seen in (True, False):
        summary = json.loads(path.read_text())
        for figures in summary["models"]["cued"]["tasks"]["addition"]["arms"].values():
            if not is_seen:
                figures["trace_rate"] = figures["valid_trace_rate"] = None
        path.write_text(json.dumps(summary))
        text = write_report(tmp_path).read_text()
        page = read(text)
        assert ("traces, strength" in text) is ("trace rate %" in text) is is_seen
        assert ({"trace_rate", "valid_trace_rate"} <= {figure.key for figure in page.figures}) is is_seen
        terminal.show(summary)
        assert ("traces %" in capsys.readouterr().out) is is_seen
