"""The exact probability of a worked solution: against every completion listed, against sampling, on any model."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import pytest
import torch

from elicit.comparison.spec import build_model_task
from elicit.errors import ElicitError
from elicit.evaluation import sample, score_worked_solutions
from elicit.methods.decoding.self_consistency import MajorityVote
from elicit.model import load
from elicit.policy import Policy, Prompting
from elicit.sampling import Decoding
from elicit.schema import Row
from elicit.steering import Steering
from elicit.tasks import Problem
from tests.support.bases import Way, base
from tests.support.enumerable import LENGTH, LastLetter, enumerable_model, everything

MODEL = enumerable_model(0)
PROMPTS = ["a", "b", "ab", "cab"]


@dataclass(frozen=True)
class Working(LastLetter):
    """Works with letters before the answer, as many as given."""

    before: str = "c"

    def worked(self, problem: Problem) -> str:
        return self.before + problem.answer


def scored(task: LastLetter, *, stop: tuple[str, ...] = (), limit: int = LENGTH) -> dict[str, float | None]:
    problems = [task.problem(prompt) for prompt in PROMPTS]
    policy = Policy(MODEL, Decoding(max_new_tokens=limit, stop=stop))
    found = score_worked_solutions(policy, task, problems)
    return {problem.prompt: found[problem.id] for problem in problems}


@pytest.mark.parametrize("before", ["", "c", "ba", "aba"])
def test_it_is_the_listed_probability_of_that_text(before: str) -> None:
    """Four letters fill the limit, so that nothing need end them; fewer need the end token."""
    task = Working(before=before)
    for prompt, logprob in scored(task).items():
        worked = task.worked(task.problem(prompt))
        listed = math.fsum(math.exp(whole.logprob) for whole in everything(MODEL, prompt) if whole.text == worked)
        assert logprob is not None
        assert math.exp(logprob) == pytest.approx(listed, rel=1e-5)


def test_a_stop_string_ends_it_as_the_end_token_does() -> None:
    """Completions that go on with the stop string are cut before it, and count."""
    task = Working(before="")
    for prompt, logprob in scored(task, stop=("cc",)).items():
        worked = task.worked(task.problem(prompt))
        same = [w for w in everything(MODEL, prompt) if w.text.split("cc")[0] == worked]
        whole = [w for w in same if w.finished or "cc" in w.text]
        assert logprob is not None
        bound = math.fsum(math.exp(w.logprob) for w in whole)  # two tokens stop it too
        assert 0 < math.exp(logprob) < bound * (1 + 1e-5)
    for prompt, logprob in scored(task, stop=("b",)).items():
        worked = task.worked(task.problem(prompt))
        if "b" in worked:
            assert logprob is None  # no completion can hold it
            continue
        cut = [whole for whole in everything(MODEL, prompt) if whole.text.split("b")[0] == worked]
        ended = [whole for whole in cut if whole.finished or "b" in whole.text]
        assert logprob is not None
        assert math.exp(logprob) == pytest.approx(math.fsum(math.exp(whole.logprob) for whole in ended), rel=1e-5)


def test_what_no_completion_can_be_has_no_figure() -> None:
    assert set(scored(Working(before="abcab")).values()) == {None}  # longer than the limit
    assert set(scored(LastLetter()).values()) == {None}  # a task without worked solutions
    wrong = Working(before="c")
    problem = dataclasses.replace(wrong.problem("a"), answer="zz")
    assert score_worked_solutions(Policy(MODEL, Decoding(max_new_tokens=9)), wrong, [problem]) == {problem.id: None}
    with pytest.raises(ElicitError, match="distribution"):
        score_worked_solutions(Policy(MODEL, search=MajorityVote(2)), wrong, [])


@pytest.mark.parametrize("condition", ["plain", "cue", "forced"])
def test_it_is_the_frequency_with_which_the_solution_is_sampled(condition: str) -> None:
    model = load("cued")
    task = build_model_task(model, {"task": "addition"}, where="test")
    problems, n = task.problems("test", 12), 200
    policy = Policy(model, Decoding(max_new_tokens=task.max_new_tokens, stop=task.stop), Prompting(condition))
    logprobs = score_worked_solutions(policy, task, problems)
    p = [math.exp(logprobs[problem.id] or -math.inf) for problem in problems]
    rows: list[Row] = []
    sample(policy, task, problems, label="addition", seed=3, n=n, sink=rows.extend)
    texts = {problem.id: task.worked(problem) for problem in problems}
    drawn = sum(row.completion == texts[row.problem] for row in rows)
    error = math.sqrt(n * sum(q * (1 - q) for q in p))
    assert abs(drawn - n * sum(p)) < 4.5 * error + 1e-6
    assert sum(p) > 0.1
    valid = sum(row.correct and bool(row.trace_valid) for row in rows)
    assert drawn <= valid  # a lower bound


@pytest.mark.parametrize("arch", ["gpt2", "llama", "qwen3"])
def test_an_ordinary_model_is_scored_as_transformers_does(arch: str) -> None:
    way = next(way for way in (Way(arch, False), Way(arch, True)) if way.levels["dtype"] == "float32")
    model = base(way)
    task = build_model_task(model, {"task": "sums", "max_new_tokens": 120}, where="test")
    problems = task.problems("test", 4)
    found = score_worked_solutions(Policy(model, Decoding(max_new_tokens=120, stop=task.stop)), task, problems)
    known = {problem: found[problem.id] for problem in problems if found[problem.id] is not None}
    assert known
    for problem, logprob in known.items():
        prompt, solution = model.encode_pair(problem.prompt, task.worked(problem) or "")
        with torch.no_grad():
            logits = model.hf(torch.tensor([[*prompt, *solution]])).logits[0].double()
        logits[:, list(model.banned_ids)] = -torch.inf
        steps = logits.log_softmax(-1)[len(prompt) - 1 :]
        total = sum(float(steps[i, token]) for i, token in enumerate(solution))
        end = steps[len(solution), sorted(model.engine.end_ids)].logsumexp(-1)
        if not task.stop:
            assert logprob == pytest.approx(total + float(end), rel=1e-4)
        else:
            assert total + float(end) - 1e-3 <= (logprob or 0) <= total + 1e-3


def test_a_steered_policy_with_nothing_to_score_says_so() -> None:
    """An edit that is applied and meets no forward pass is refused elsewhere; here there is no pass to make."""
    cued = load("cued")
    task = build_model_task(cued, {"task": "addition"}, where="task")
    edit = Steering(torch.ones(cued.d_model), 0, 1.0, "add", "first")
    short = Policy(cued, Decoding(max_new_tokens=3, stop=task.stop), steering=(edit,))
    problems = task.problems("test", 3)
    assert score_worked_solutions(short, task, problems) == dict.fromkeys(problem.id for problem in problems)
