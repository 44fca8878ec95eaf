"""Rollouts of GRPO and RL steering from a vLLM server, and many candidates in one batch: the lab's own results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from elicit import tasks
from elicit.adapters import Adapter
from elicit.answering import answer_together
from elicit.engines.vllm import VLLMPolicy
from elicit.fitting.selection import make_steering_candidate, select_candidate
from elicit.methods.catalog import configure_method
from elicit.methods.decoding.self_consistency import MajorityVote
from elicit.policy import Policy
from elicit.sampling import Decoding
from elicit.steering import Steering
from elicit.tasks import Problem, Split, Task, TaskBase, Verdict, content_id, split_of
from elicit.weights import FullWeights
from tests.engines import ledger
from tests.engines.servers import PYTHON, Served, base, model_folder

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not PYTHON, reason="ELICIT_VLLM_PYTHON names no environment with vLLM"),
]


@pytest.fixture(scope="module", params=["cued", "qwen2"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    server = Served(
        base("cued" if request.param == "cued" else model_folder("qwen2", 5)),
        max_num_seqs=64,
        max_num_batched_tokens=256,
    )
    yield server
    server.close()


@contextmanager
def outside(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The model on its server, rollouts too; yields the calls of the server."""
    calls: list[str] = []
    post = VLLMPolicy.post

    def watch(self: VLLMPolicy, path: str, *rest: Any) -> Any:
        calls.append(path)
        return post(self, path, *rest)

    monkeypatch.setattr(VLLMPolicy, "post", watch)
    served.engine.rollouts, served.model.outside = True, served.engine
    try:
        yield calls
    finally:
        served.engine.rollouts, served.model.outside = False, None
        monkeypatch.undo()


class Letters(TaskBase):
    """Is there a vowel among the first letters of a continuation? A random model answers some of them."""

    name = "letters"
    max_new_tokens = 6
    answer_space = 2

    def problems(self, split: Split, n: int | None = None, seed: int = 0) -> list[Problem]:
        texts = [f"{i} and {i + 7}:" for i in range(400)]
        pool = [Problem(content_id(self.name, text), text, "yes", content=text) for text in texts]
        return self.draw([problem for problem in pool if split_of(problem.id) == split], split, n, seed)

    def verify(self, problem: Problem, completion: str) -> Verdict:
        right = any(letter in "aeiou" for letter in completion)
        return Verdict("yes" if right else "no", right, has_trace=False, trace_valid=None)


def bind_task(served: Served) -> Task:
    return served.model.bind(tasks.get("addition") if served.model.card else Letters())


SMALL: dict[str, Any] = {"steps": 4, "problems": 4, "generations": 6, "pilot_problems": 24, "pilot_samples": 6}


@pytest.mark.parametrize(
    ("method", "options"),
    [("grpo", {}), ("grpo", {"lora_rank": 4}), ("rl_steering", {}), ("rl_steering", {"positions": "first:4"})],
    ids=["grpo", "grpo lora", "rl_steering", "rl_steering first:4"],
)
def test_trainings_are_the_same(
    served: Served, method: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, task = served.model, bind_task(served)
    config = configure_method(method, {**SMALL, "learning_rate": 0.01, **options})
    here = config.fit(model, task, seed=0, needs={}, scratch=tmp_path / "here")
    with outside(served, monkeypatch) as calls:
        there = config.fit(model, task, seed=0, needs={}, scratch=tmp_path / "there")
    steps = len(here.record["curve"])
    assert steps >= 2
    assert calls.count("complete") >= 1 + steps  # the pilot, and every step
    assert "rollouts" not in here.record
    assert there.record["rollouts"].startswith("vllm ")
    assert there.record["pilot"] == here.record["pilot"]
    assert there.record["curve"] == here.record["curve"]
    ours, theirs = flatten(here), flatten(there)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    ledger.note(f"rollouts: {method} {options or ''} on {served.label}: {steps} steps, trained values equal")


def flatten(policy: Policy) -> dict[str, torch.Tensor]:
    """Everything that a training changed, by name."""
    assert policy.weights is None or isinstance(policy.weights, Adapter | FullWeights)
    tensors = {} if policy.weights is None else dict(policy.weights.tensors)
    return tensors | {f"edit {i}": edit.direction * edit.absolute for i, edit in enumerate(policy.edits)}


def test_a_choice_among_candidates_is_the_same(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer and three strengths, by one batch: the figures of each candidate are those of a batch of its own."""
    model, task = served.model, bind_task(served)
    norms, generator = model.residual_norms.medians, torch.Generator().manual_seed(1)

    def draw_edit(layer: int, dose: float, form: str) -> Steering:
        return Steering(torch.randn(model.d_model, generator=generator), layer, dose, "add", form, norms[layer])

    candidates = [
        make_steering_candidate(model, task, (draw_edit(layer, dose, form),), {})
        for layer in range(model.n_layers)
        for dose in (0.3, 0.6, 1.2)
        for form in ("all", "generated")
    ]
    here = select_candidate(candidates, task, 24)
    with outside(served, monkeypatch) as calls:
        there = select_candidate(candidates, task, 24)
    assert calls == ["complete"]
    assert there == here


def test_a_thousand_vectors_in_one_batch(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A population: one vector a request, each row what its vector gives alone."""
    model, task = served.model, bind_task(served)
    problems, generator = task.problems("select", 1), torch.Generator().manual_seed(2)
    edits = [
        Steering(torch.randn(model.d_model, generator=generator), i % model.n_layers, 0.8, "add", "all", norm)
        for i in range(1000)
        for norm in (model.residual_norms.medians[i % model.n_layers],)
    ]
    policies = [Policy(model, Decoding(max_new_tokens=6), steering=(edit,)) for edit in edits]
    with outside(served, monkeypatch) as calls:
        together = answer_together(policies, problems, task, label="population", seed=0)
    assert calls == ["complete"]
    alone = [policy.answer(problems, task, label="population", seed=0) for policy in policies]
    same = sum(a == b for a, b in zip(together, alone, strict=True))
    assert same >= 998  # a row may part where two tokens are equally likely to some units in the last place
    assert len({answers[0].text for answers in alone}) > 20
    ledger.note(f"a population of 1,000 vectors in one batch on {served.label}: {same} of 1,000 rows identical")


def test_policies_that_cannot_share_a_batch(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another decoding, a search, other weights: each is answered apart, and as alone."""
    model, task = served.model, bind_task(served)
    problems = task.problems("select", 4)
    name, tensor = next((n, p) for n, p in model.hf.named_parameters() if n.endswith("mlp.down_proj.weight"))
    plain = Policy(model, Decoding(max_new_tokens=6))
    policies = [
        plain,
        Policy(model, Decoding(max_new_tokens=4)),
        Policy(model, Decoding(max_new_tokens=6), weights=FullWeights({name: tensor.detach() * 2})),
        Policy(model, Decoding(max_new_tokens=6), search=MajorityVote(3)),
        plain,
    ]
    with outside(served, monkeypatch):
        together = answer_together(policies, problems, task, label="mixed", seed=0)
    alone = [policy.answer(problems, task, label="mixed", seed=0) for policy in policies]
    assert together == alone
