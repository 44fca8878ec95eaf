"""Methods that only change the prompt or the decoding: what the model is really shown, and what is refused."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch

from elicit.errors import ElicitError
from elicit.methods.catalog import configure_method
from elicit.methods.decoding.contrastive_decoding import ContrastReadout
from elicit.methods.decoding.dola import DolaReadout
from elicit.model import BaseModel, load
from elicit.policy import Policy, Prompting
from elicit.tasks import Problem, get
from tests.support.models import tiny_model
from tests.support.tiny import tiny

TASK = get("addition", max_new_tokens=12)


@functools.cache
def cued() -> BaseModel:
    model = load("cued")
    torch.set_num_threads(1)
    return model


def fitted(method: str, options: dict | None = None, *, base: BaseModel | None = None, seed: int = 0, needs=None):
    return configure_method(method, options or {}).fit(base or cued(), TASK, seed=seed, needs=needs or {})


@pytest.mark.parametrize("supervision", ["worked", "direct"])
def test_demonstrations_stand_before_the_problem_in_the_tasks_own_form(supervision):
    policy = fitted("few_shot", {"demonstrations": 3, "supervision": supervision})
    problem = TASK.problems("test", 1)[0]
    prompt, opening = policy.prompting.render(problem)
    shown = TASK.problems("train", 3, seed=1)
    write = TASK.worked if supervision == "worked" else TASK.direct
    assert prompt == "".join(one.prompt + write(one) + "\n" for one in shown) + problem.prompt
    assert opening == ""
    assert [TASK.verify(one, write(one)).correct for one in shown] == [True] * 3
    assert policy.record["shown"] == [one.id for one in shown]
    answer = policy.answer([problem], TASK, label="x", seed=0)[0]
    assert answer.prompt == prompt
    assert answer.prompt_tokens == len(cued().encode(prompt))


def test_the_seed_decides_which_are_shown_and_none_is_a_test_problem():
    shown = [set(fitted("few_shot", {"demonstrations": 4}, seed=seed).record["shown"]) for seed in range(3)]
    assert len({frozenset(one) for one in shown}) == 3
    kept = {problem.id for split in ("select", "test") for problem in TASK.problems(split, 200)}
    assert not kept & set.union(*shown)
    assert fitted("few_shot", seed=2).sha256 == fitted("few_shot", seed=2).sha256 != fitted("few_shot").sha256


def test_braces_in_demonstrations_and_problems_are_text():
    prompting = Prompting(before="use {prompt} and {0} and {x!r}\n", template="<{prompt}>{y}")
    problem = Problem("id", "what is {prompt}?", "1")
    assert prompting.render(problem) == ("use {prompt} and {0} and {x!r}\n<what is {prompt}?>{y}", "")


def test_a_policy_with_demonstrations_is_saved_and_loaded(tmp_path: Path):
    policy = fitted("few_shot", {"demonstrations": 2})
    policy.save(tmp_path)
    again = Policy.load(tmp_path, cued())
    assert again.sha256 == policy.sha256
    problems = TASK.problems("test", 4)
    assert again.answer(problems, TASK, label="x", seed=0) == policy.answer(problems, TASK, label="x", seed=0)


def test_think_prompt_puts_words_around_the_problem():
    problem = TASK.problems("test", 1)[0]
    assert fitted("think_prompt").prompting.render(problem)[0] == f"{problem.prompt} Let's think step by step."
    before = fitted("think_prompt", {"template": "Think.\n{prompt}"})
    assert before.prompting.render(problem)[0] == f"Think.\n{problem.prompt}"


def test_min_p_samples_by_identity_and_keeps_what_is_near_the_best():
    problems = TASK.problems("test", 12)
    policy = fitted("min_p", {"temperature": 1.5, "min_p": 0.3})
    ours = policy.answer(problems, TASK, label="x", seed=1)
    assert ours == policy.answer(problems, TASK, label="x", seed=1)
    assert policy.answer(problems[3:4], TASK, label="x", seed=1) == ours[3:4]
    assert ours != policy.answer(problems, TASK, label="x", seed=2)
    only_best = fitted("min_p", {"temperature": 1.5, "min_p": 1.0}).answer(problems, TASK, label="x", seed=1)
    greedy = fitted("base").answer(problems, TASK, label="x", seed=1)
    assert [one.text for one in only_best] == [one.text for one in greedy]


def test_contrast_and_dola_are_tuned_on_select_and_say_so():
    contrast = fitted("contrastive_decoding", {"alphas": (0.1,), "betas": (0.25, 1.0), "select_problems": 8})
    assert isinstance(contrast.readout, ContrastReadout)
    assert contrast.record["tuning"] == {
        "generated_tokens": sum(trial["generated_tokens"] for trial in contrast.record["trials"]),
        "labels": 8,
        "n": 8,
        "trials": 2,
        "split": "select",
    }
    best = max(trial["accuracy"] for trial in contrast.record["trials"])
    assert contrast.record["chosen"]["accuracy"] == best
    assert contrast.readout.beta == contrast.record["chosen"]["beta"]
    dola = fitted("dola", {"select_problems": 8})
    assert isinstance(dola.readout, DolaReadout)
    assert [trial["exits"] for trial in dola.record["trials"]] == [[0], [1]]
    fixed = fitted("dola", {"exits": (1, 2)})
    assert fixed.readout == DolaReadout((1, 2))
    assert "tuning" not in fixed.record


def test_another_arm_may_be_the_amateur_or_the_expert():
    tuned = fitted("sft", {"demonstrations": 4, "epochs": 2, "learning_rate": 1e-2})
    problems = TASK.problems("test", 6)
    said = {}
    for role in ("amateur_arm", "expert_arm"):
        options = {role: "sft", "betas": (1.0,), "alphas": (0.0,)}
        assert configure_method("contrastive_decoding", options).traits.seeded
        policy = fitted("contrastive_decoding", options, needs={"sft": tuned})
        assert policy.weights is None
        assert "train" not in policy.record  # the summary counts the arms it was made from
        assert policy.readout.swapped == (role == "expert_arm")
        said[role] = [one.text for one in policy.answer(problems, TASK, label="x", seed=0)]
    assert said["amateur_arm"] != said["expert_arm"]
    assert not configure_method("contrastive_decoding", {}).traits.seeded


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("few_shot", {"demonstrations": 0}, "few_shot: demonstrations is 0; expected a number above 0."),
        ("think_prompt", {"template": "no place"}, "the template needs {prompt} in it, and words around it."),
        ("min_p", {"min_p": 1.5}, "min_p: min_p is 1.5; expected 0 to 1."),
        ("min_p", {"temperature": 0.0}, "temperature must be above 0: greedy decoding has nothing to filter."),
        ("dola", {"alpha": -1.0}, "dola: alpha is -1.0; expected 0 to 1."),
        ("contrastive_decoding", {"amateur": "x", "amateur_arm": "y"}, "amateur and amateur_arm are both given."),
        ("contrastive_decoding", {"betas": ()}, "alphas, betas and temperatures need at least one value each."),
    ],
)
def test_options_that_make_no_sense_are_refused(method, options, message):
    with pytest.raises(ElicitError) as raised:
        configure_method(method, options)
    assert message in str(raised.value)


def test_what_the_model_cannot_read_is_said(tmp_path):
    with pytest.raises(
        ElicitError, match=r"think_prompt: cued lacks a token for 'é', which the text around the prompt"
    ):
        fitted("think_prompt", {"template": "{prompt} réfléchis"})
    with pytest.raises(ElicitError, match=r"few_shot: a prompt of \d+ tokens .* the 256 positions"):
        fitted("few_shot", {"demonstrations": 16})
    with pytest.raises(ElicitError, match=r"exits after|early exit after 7 blocks does not exist"):
        fitted("dola", {"exits": (7,)})
    with pytest.raises(ElicitError, match=r"the low bucket of tiny-qwen2 \(3 layers, tied embeddings\) is empty"):
        fitted("dola", {"exits": "low"}, base=tiny_model("qwen2"))
    hf, tokenizer = tiny("llama", vocab="abc")
    hf.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ElicitError, match="have different tokenizers"):
        fitted("contrastive_decoding", {"amateur": str(tmp_path)})
    with pytest.raises(ElicitError, match="arm 'cue' has a prompt, search or readout of its own"):
        fitted("contrastive_decoding", {"amateur_arm": "cue"}, needs={"cue": fitted("cue_prompt")})
    with pytest.raises(ElicitError, match="arm 'plain' is the base itself"):
        fitted("contrastive_decoding", {"amateur_arm": "plain"}, needs={"plain": fitted("base")})
