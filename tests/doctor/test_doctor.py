"""`elicit doctor MODEL`: facts against what was built, the spread against answers judged one by one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import elicit
from elicit.cli.main import run_command
from elicit.doctor import Fact, examine_model, measure_spread
from elicit.doctor.spread import list_conditions
from elicit.method import task_decoding
from elicit.model import BaseModel
from elicit.tasks.from_dict import build_task
from tests.support import chats
from tests.support.tiny import tiny


def saved(folder: Path, arch: str, *, spare: int = 0, template: str | None = None, **tokenizer: Any) -> BaseModel:
    """A tiny model of a folder, with rows behind the last token and a chat template."""
    hf, own = tiny(arch)
    if spare:
        with torch.random.fork_rng(devices=[]):
            hf.resize_token_embeddings(len(own) + spare, mean_resizing=False)
    for name, value in tokenizer.items():
        setattr(own, name, value)
    own.chat_template = template
    hf.save_pretrained(folder)
    own.save_pretrained(folder)
    return elicit.load(str(folder))


def named(facts: list[Fact], name: str) -> Fact:
    (fact,) = (fact for fact in facts if fact.name == name)
    return fact


def test_the_traps_of_a_padded_model_with_a_thinking_template(tmp_path: Path) -> None:
    facts = examine_model(saved(tmp_path, "qwen2", spare=28, template=chats.SMOLLM3))
    assert named(facts, "rows without a token").value.startswith("28 of ")
    assert named(facts, "embedding and head").value == "tied"
    assert "enable_thinking" in named(facts, "thinking").value
    assert named(facts, "thinking").caution
    assert named(facts, "date").caution
    assert named(facts, "length").value.startswith("256 tokens")
    assert "<bos>" in named(facts, "BOS").value.replace("'", "") or "template" in named(facts, "BOS").value


def test_an_ordinary_model_has_few_cautions(tmp_path: Path) -> None:
    facts = examine_model(saved(tmp_path, "llama"))
    assert {fact.name for fact in facts if fact.caution} <= {"pad"}
    assert "rows without a token" not in {fact.name for fact in facts}
    assert named(facts, "template").value.startswith("none")


def test_positions_in_a_table_are_said(tmp_path: Path) -> None:
    assert "table" in named(examine_model(saved(tmp_path, "gpt2")), "positions").value


def test_a_template_that_refuses_a_system_message(tmp_path: Path) -> None:
    assert "refused" in named(examine_model(saved(tmp_path, "gemma2", template=chats.GEMMA)), "system message").value


def test_the_spread_is_what_the_answers_say() -> None:
    model, task = elicit.load("cued"), elicit.tasks.get("addition")
    spread = measure_spread(model, task, n=12)
    by_name = {row.condition: row for row in spread.results}
    assert list(by_name) == ["direct", "cue"]
    problems = task.problems("test", 12)
    for name, prompts in (("direct", [p.prompt for p in problems]), ("cue", [str(p.cue_prompt) for p in problems])):
        texts = [drawn[0].text for drawn in model.sample(prompts, decoding=task_decoding(task))]
        finals = [(re.findall(r"\d+", text) or [""])[-1] for text in texts]
        right = sum(final == problem.answer for final, problem in zip(finals, problems, strict=True))
        assert by_name[name].accuracy["last number"].value == pytest.approx(right / 12)
        assert by_name[name].accuracy["the task's own"].value == pytest.approx(
            sum(task.verify(problem, text).correct for problem, text in zip(problems, texts, strict=True)) / 12
        )
        assert by_name[name].accuracy["gsm8k strict"].value == 0
    assert spread.range == (0.0, 1.0)


def test_conditions_of_a_model_with_a_thinking_switch(tmp_path: Path) -> None:
    model = saved(tmp_path, "qwen3", template=chats.QWEN3)
    task = build_task({"task": "sums", "max_new_tokens": 4}, where="task")
    made = {condition.name: condition for condition in list_conditions(model, task)}
    on, off = (made[f"chat, enable_thinking {way}: direct"] for way in ("true", "false"))
    problem = off.task.problems("test", 1)[0]
    prompts = [model.tokenizer.apply_chat_template(
        [{"role": "user", "content": problem.prompt.split("<|im_start|>user\n")[1].split("<|im_end|>")[0]}],
        tokenize=False, add_generation_prompt=True, enable_thinking=way) for way in (True, False)]  # fmt: skip
    assert prompts == [on.task.problems("test", 1)[0].prompt, problem.prompt]
    assert "<think>" in problem.prompt
    assert sum(name.endswith("examples, worked") for name in made) == 2
    assert made["text: direct"].task.stop != ()
    assert off.task.stop == ()


def test_without_a_chat_template_only_text_is_tried(tmp_path: Path) -> None:
    task = build_task({"task": "sums"}, where="task")
    assert all(one.name.startswith("text: ") for one in list_conditions(saved(tmp_path, "llama"), task))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path, "llama")
    assert run_command(["doctor", str(tmp_path), "--task", "{task: sums, max_new_tokens: 4}", "--n", "3"]) == 0
    page = capsys.readouterr().out
    for section in ("weights", "context", "tokenizer", "chat template", "self-test", "spread"):
        assert re.search(rf"^{section}", page, re.MULTILINE), section
    assert "n = 3" in page
    assert len([line for line in page.splitlines() if line.startswith("  ok ")]) >= 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/at/all"], "nowhere"),
        (["cued", "--task", "sumz"], "sumz"),
        (["cued", "--task", "{task: [}"], "--task"),
        (["cued", "--task", "3"], "--task"),
        (["cued", "--n", "0"], "--n"),
        (["--task", "sums"], "model"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_a_model_that_fails_its_self_test_has_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hf, tokenizer = tiny("llama")
    with torch.no_grad():
        hf.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    hf.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert run_command(["doctor", str(tmp_path), "--task", "sums"]) == 1
    page = capsys.readouterr().out
    assert "BAD finite" in page
    assert "spread" not in page
    assert run_command(["sample", str(tmp_path), "Q"]) == 2
