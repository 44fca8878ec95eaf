"""`forbid_first` against transformers' generate with the token suppressed, and what it does to the organisms."""

from __future__ import annotations

import pytest
import torch

from elicit.comparison.spec import build_model_task
from elicit.errors import ElicitError
from elicit.methods.baselines.forbid_first import ForbidFirst
from elicit.model import load
from elicit.policy import Policy
from tests.support.arms import LENGTH, task_for
from tests.support.bases import Way, base


@pytest.mark.parametrize("arch", ["gpt2", "llama", "qwen3"])
@pytest.mark.parametrize("forbidden", [1, 2])
def test_it_is_generate_with_the_likeliest_first_tokens_suppressed(arch: str, forbidden: int) -> None:
    way = next(way for way in (Way(arch, False), Way(arch, True)) if way.levels["dtype"] == "float32")
    model, task = base(way), task_for(way)
    problems = task.problems("test", 3)
    policy = ForbidFirst(forbidden).fit(model, task, seed=0, needs={})
    for problem, answer in zip(problems, policy.answer(problems, task, label="x", seed=0), strict=True):
        ids = torch.tensor([model.encode(problem.prompt)])
        banned = list(model.banned_ids)
        with torch.no_grad():
            logits = model.hf(ids).logits[0, -1]
            logits[banned] = -torch.inf
            likeliest = logits.argsort(descending=True, stable=True)[:forbidden].tolist()
            drawn = model.hf.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=LENGTH,
                begin_suppress_tokens=likeliest, suppress_tokens=banned or None,
            )[0, ids.shape[1] :]  # fmt: skip
        text = model.tokenizer.decode(drawn, skip_special_tokens=True)
        assert answer.text == min((text.split(stop)[0] for stop in task.stop), key=len, default=text)


@pytest.mark.parametrize(
    ("organism", "task_name", "works"), [("cued", "addition", True), ("cued-late", "addition", False)]
)
def test_it_brings_working_out_where_the_first_token_decides(organism: str, task_name: str, works: bool) -> None:
    model = load(organism)
    task = build_model_task(model, {"task": task_name}, where="test")
    problems = task.problems("test", 40)
    policy = ForbidFirst().fit(model, task, seed=0, needs={})
    answers = policy.answer(problems, task, label=task_name, seed=0)
    right = sum(task.verify(p, answer.text).correct for p, answer in zip(problems, answers, strict=True))
    assert right == 40 if works else right <= 4


def test_no_token_to_begin_with_is_refused() -> None:
    model = load("cued")
    task = build_model_task(model, {"task": "addition"}, where="test")
    with pytest.raises(ElicitError, match="can only choose among"):
        ForbidFirst(10_000).fit(model, task, seed=0, needs={})
    policy = ForbidFirst().fit(model, task, seed=0, needs={})
    sampling = Policy(model, policy.decoding.replace(temperature=1.0), search=policy.search)
    with pytest.raises(ElicitError, match="temperature"):
        sampling.answer(task.problems("test", 1), task, label="x", seed=0)
