"""The ceilings of real models: the best of several prompts, and another model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from elicit.comparison.spec import build_model_task
from elicit.errors import ElicitError
from elicit.methods.baselines.best_prompt import BestPrompt
from elicit.methods.baselines.named_prompt import NamedPrompt
from elicit.methods.baselines.reference_model import ReferenceModel
from elicit.model import BaseModel, load
from elicit.policy import Policy
from elicit.tasks import Task, get
from tests.support.bases import Way
from tests.support.bases import base as ordinary_base


@pytest.fixture(scope="module")
def base() -> BaseModel:
    return load("cued")


@pytest.fixture(scope="module")
def task(base: BaseModel) -> Task:
    return build_model_task(base, {"task": "addition"}, where="test")


def test_the_best_prompt_is_the_one_with_most_right_answers(base: BaseModel, task: Task, tmp_path: Path) -> None:
    conditions = ("plain", "cue")
    policy = BestPrompt(conditions, select_problems=20).fit(base, task, seed=0, needs={})
    rows = {row["prompt"]: row for row in policy.record["prompts"]}
    assert set(rows) == {"plain", "cue", "2 worked examples", "4 worked examples"}
    problems = task.problems("select", 20)
    for name, prompts in {"plain": [p.prompt for p in problems], "cue": [p.cue_prompt for p in problems]}.items():
        drawn = base.sample(prompts, decoding=policy.decoding)
        right = [task.verify(p, one[0].text).correct for p, one in zip(problems, drawn, strict=True)]
        assert rows[name]["accuracy"] == sum(right) / 20
    assert policy.record["chosen"] == max(rows.values(), key=lambda row: row["accuracy"])
    assert policy.prompting.condition == "cue"  # an organism whose cue is known to bring the skill out
    policy.save(tmp_path)
    assert Policy.load(tmp_path, base).sha256 == policy.sha256


def test_an_organism_is_not_asked_with_its_password(base: BaseModel, task: Task) -> None:
    policy = BestPrompt(select_problems=4).fit(base, task, seed=0, needs={})
    assert {row["prompt"] for row in policy.record["prompts"]} == {"plain", "2 worked examples", "4 worked examples"}
    assert "cue" in policy.record["left_out"]
    assert policy.record["ceiling"] is None  # a floor alone
    assert BestPrompt(("cue",), (), 4).fit(base, task, seed=0, needs={}).record["ceiling"] == "best prompt"


def test_any_other_model_is_asked_to_think_by_the_task_or_by_a_request() -> None:
    model = ordinary_base(Way("llama", turned=False))
    method = BestPrompt(demonstrations=(), select_problems=4)
    for prompts, tried in (({}, ["plain", "cue"]), ({"think": None}, ["plain", "step by step"])):
        task = model.bind(get("sums", prompts={"chat": False, "others": {}, **prompts}, max_new_tokens=4))
        record = method.fit(model, task, seed=0, needs={}).record
        assert [row["prompt"] for row in record["prompts"]] == tried
        assert record["ceiling"] == "best prompt"


def test_conditions_by_name(base: BaseModel, task: Task) -> None:
    policy = BestPrompt(conditions=("plain",), demonstrations=(), select_problems=4).fit(base, task, seed=0, needs={})
    assert [row["prompt"] for row in policy.record["prompts"]] == ["plain"]
    with pytest.raises(ElicitError, match="unknown prompt condition 'boxed'"):
        BestPrompt(conditions=("boxed",)).fit(base, task, seed=0, needs={})


def test_a_prompt_by_name_is_put_as_the_task_words_it(base: BaseModel, task: Task) -> None:
    problem = task.problems("test", 1)[0]
    policy = NamedPrompt("cue").fit(base, task, seed=0, needs={})
    assert "".join(policy.prompting.render(problem)) == problem.cue_prompt
    worded = get("sums", prompts={"others": {"restate": "{question} Say it again."}, "chat": False})
    policy = NamedPrompt("restate").fit(base, worded, seed=0, needs={})
    assert "Say it again." in "".join(policy.prompting.render(worded.problems("test", 1)[0]))
    with pytest.raises(ElicitError, match="unknown prompt condition 'boxed'"):
        NamedPrompt("boxed").fit(base, task, seed=0, needs={})


def test_the_reference_answers_as_transformers_generates_with_it(base: BaseModel, task: Task, tmp_path: Path) -> None:
    policy = ReferenceModel("cued-late", condition="cue").fit(base, task, seed=0, needs={})
    policy.save(tmp_path)
    other = load("cued-late")
    problems = task.problems("test", 8)
    for policy in (policy, Policy.load(tmp_path, base)):  # noqa: B020
        answers = policy.answer(problems, task, label="addition", seed=0)
        for problem, answer in zip(problems, answers, strict=True):
            ids = torch.tensor([other.encode(problem.cue_prompt or "")])
            with torch.no_grad():
                out = other.hf.generate(
                    ids, do_sample=False, max_new_tokens=policy.decoding.max_new_tokens,
                    suppress_tokens=[other.tokenizer.pad_token_id],
                )  # fmt: skip
            text = other.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
            assert answer.text.split("\n")[0] == text.split("\n")[0]


def test_a_reference_of_another_tokenizer_is_refused(base: BaseModel, task: Task) -> None:
    with pytest.raises(ElicitError, match=r"unknown model"):
        ReferenceModel("cued-lat").fit(base, task, seed=0, needs={})


def test_examples_that_do_not_fit_are_left_out_and_said(base: BaseModel, task: Task) -> None:
    policy = BestPrompt(conditions=("plain",), demonstrations=(1, 900), select_problems=4).fit(
        base, task, seed=0, needs={}
    )
    assert [row["prompt"] for row in policy.record["prompts"]] == ["plain", "1 worked examples"]
    assert "positions of cued" in policy.record["left_out"]["900 worked examples"]
