"""Runs on models whose chat template is a program: the day it writes, the thinking it asks for, the turn it ends."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

import elicit
from elicit import runs
from elicit.cli.main import run_command as command
from elicit.comparison.running.engine import run_cells
from elicit.comparison.running.template_check import check_chat_templates
from elicit.comparison.spec import Spec, check_spec
from elicit.comparison.summary.summarise import write_summary
from elicit.comparison.verify import verify_run
from elicit.errors import ElicitError
from elicit.loading import templates
from elicit.method import task_decoding
from elicit.policy import Policy
from elicit.tasks import get
from tests.support.chats import GEMMA, LLAMA32, QWEN3
from tests.support.tiny import tiny

DAY = datetime.date(2025, 1, 31)
DATED = (
    "{{ strftime_now('%d %b %Y') }}|{% for m in messages %}[{{ m.role[0] }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[a]{% endif %}"
)
BASE = {"base": {"method": "base"}}


def folder(place: Path, template: str | None) -> Path:
    hf, tokenizer = tiny("llama")
    tokenizer.chat_template = template
    hf.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def spec(place: Path, arms: dict[str, Any] = BASE, **prompts: Any) -> Spec:
    asked = {"direct": "{question}", "think": "{question} Think.", "others": {}, **prompts}
    task = {"task": "sums", "terms": [2, 2], "digits": [1, 2], "max_new_tokens": 8, "prompts": asked}
    return check_spec({"models": {"m": str(place)}, "task": task, "arms": arms, "test": 4, "kl_problems": 0})


def prompt_of(run: Path, arm: str) -> dict[str, str]:
    """Problem -> the text that an arm was asked, from its rows and prompts."""
    cell = run / "cells" / "m" / arm / "0"
    texts = runs.read_run_json(cell / "prompts.json")
    return {row.problem: texts[row.prompt_hash][0] for row in runs.read_rows(cell / "rows" / "sums.jsonl")}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_has_one_day_however_late_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    place, run = folder(tmp_path / "model", DATED), tmp_path / "run"
    few = {**BASE, "few_shot": {"method": "few_shot", "demonstrations": 1}}
    with monkeypatch.context() as patch:
        patch.setattr(templates, "today", lambda: DAY)
        patch.setattr("elicit.comparison.storage.manifest.today", lambda: DAY)
        assert not run_cells(spec(place, few), run, workers=1)
    later = {**few, "cue_prompt": {"method": "cue_prompt"}, "self_consistency": {"method": "self_consistency", "n": 2}}
    assert not run_cells(spec(place, later), run, workers=workers)  # on the day of this test
    write_summary(run)

    assert runs.read_run_json(run / "manifest.json")["date"] == "2025-01-31"
    base = prompt_of(run, "base")
    assert prompt_of(run, "self_consistency") == base
    assert all(text.startswith("31 Jan 2025|[u]") for text in [*base.values(), *prompt_of(run, "cue_prompt").values()])
    assert verify_run(run).differences == []

    # A saved policy tells its own day, whatever the day it is loaded on.
    model = elicit.load(str(place))
    policy = Policy.load(run / "cells" / "m" / "few_shot" / "0" / "policy", model)
    task = get("sums", **{key: value for key, value in spec(place).task.items() if key != "task"})
    shown = prompt_of(run, "few_shot")
    for problem in policy.model.bind(task).problems("test", 4):
        assert policy.prompting.render(problem)[0] == shown[problem.id]
    with pytest.raises(ElicitError, match=r"policy\.model\.bind\(task\)"):
        policy.prompting.render(model.bind(task).problems("test", 1)[0])
    assert Policy(model).sha256 != Policy(model.on(DAY)).sha256

    # Another day in the manifest is other prompts.
    manifest = runs.read_run_json(run / "manifest.json")
    runs.write_json(run / "manifest.json", {**manifest, "date": "2025-02-01"})
    differences = "\n".join(verify_run(run).differences)
    assert "give the date 2025-01-31, the run's is 2025-02-01" in differences
    assert "base/0/rows/sums.jsonl: 4 rows answer other prompts" in differences


def test_a_thinking_switch_is_passed_on_or_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = folder(tmp_path / "model", QWEN3)
    (line,) = check_chat_templates(spec(place))
    assert "enable_thinking, which is not set: the model is asked to think first" in line
    chosen = spec(place, chat_template_kwargs={"enable_thinking": False})
    assert check_chat_templates(chosen) == []
    assert not run_cells(chosen, tmp_path / "run", workers=1)
    assert all(text.endswith("<think>\n\n</think>\n\n") for text in prompt_of(tmp_path / "run", "base").values())
    assert write_summary(tmp_path / "run")["models"]["m"]["tasks"]["sums"]["thinking"] == {
        "switch": "enable_thinking",
        "given": True,
        "on": False,
    }
    capsys.readouterr()


@pytest.mark.parametrize(
    ("template", "prompts", "message"),
    [
        (LLAMA32, {"chat_template_kwargs": {"enable_thinking": False}}, "does not read 'enable_thinking'"),
        (None, {"chat_template_kwargs": {"enable_thinking": False}}, "lacks a chat template"),
        (None, {"chat": True}, "lacks a chat template"),
        (GEMMA, {"system": "Be kind."}, "System role not supported"),
        ("{% for i in range(10**9) %}x{% endfor %}", {}, "the chat template of"),
        ("{{ 'x' * 10**10 }}", {}, "needed more memory"),
    ],
)
def test_what_the_template_cannot_do_is_said_before_the_first_cell(
    template: str | None, prompts: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = spec(folder(tmp_path / "model", template), **prompts)
    with pytest.raises(ElicitError, match=message):
        run_cells(wanted, tmp_path / "run", workers=1)
    assert not (tmp_path / "run").exists()
    (tmp_path / "s.yaml").write_text(json.dumps(wanted.to_dict()))
    capsys.readouterr()
    assert command(["run", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "run"), "--plan"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_turn_of_a_chat_is_cut_by_no_guess(tmp_path: Path) -> None:
    model = elicit.load(str(folder(tmp_path / "model", QWEN3)))
    path = tmp_path / "t.jsonl"
    path.write_text("".join(f'{{"prompt": "{i} + 1?", "answer": "{i + 1}"}}\n' for i in range(60)))
    guessed = get("jsonl", path=str(path))
    assert "\nQuestion:" in guessed.stop, "no chat: a base model invents a next question"
    asked = get("jsonl", path=str(path), prompts={})
    assert "\nQuestion:" in asked.stop
    assert task_decoding(model.bind(asked)).stop == ()
    chosen = get("jsonl", path=str(path), prompts={}, stop=["\n\n"])
    assert task_decoding(model.bind(chosen)).stop == ("\n\n",)
    assert "\nQuestion:" in model.bind(get("jsonl", path=str(path), prompts={"chat": False})).stop


def test_sample_says_what_the_template_was_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(folder(tmp_path / "model", LLAMA32))
    assert command(["sample", place, "Hi", "--chat", "--date", "2025-01-31", "--max-new-tokens", "2"]) == 0
    out, err = capsys.readouterr()
    assert "Today Date: 31 Jan 2025" in out
    assert "2025-01-31" in err
    given = ["--chat-template-kwargs", "date_string=26 Jul 2024"]
    assert command(["sample", place, "Hi", "--chat", *given, "--max-new-tokens", "2"]) == 0
    assert "Today Date: 26 Jul 2024" in capsys.readouterr().out
    for options, message in (
        (["--chat", "--chat-template-kwargs", "enable_thinking=false"], "does not read 'enable_thinking'"),
        (["--chat", "--chat-template-kwargs", "enable_thinking"], "expected name=value"),
        (["--chat", "--date", "tomorrow"], "--date: 'tomorrow' is not a day"),
        (["--date", "2025-01-31"], "--date needs --chat"),
    ):
        assert command(["sample", place, "Hi", *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    bare = str(folder(tmp_path / "bare", None))
    assert command(["sample", bare, "Hi", "--chat"]) == 2
    assert "has no chat template. Leave --chat out." in capsys.readouterr().err
