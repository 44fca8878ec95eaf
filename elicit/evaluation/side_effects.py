"""Side effects of an arm: KL from the base, and perplexity of neutral text.

- `task`: KL(base || arm) along the base's own greedy answers, KL(arm || base) along the arm's own answers; exact over
  the vocabulary at every token, averaged over tokens, then over problems.
- `neutral`: both along held-out neutral sentences. The first half of a sentence counts as the prompt, so an edit at
  `first` fires in its middle and the figure covers the second half.

Both are null for arms that search (votes), which do not define a next-token distribution, and for arms that only change
the prompt, which equal the base on any given text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from elicit.policy import Policy, Prompting
from elicit.sampling import Scored, generate, logprobs, measure_divergences
from elicit.sampling.decoding import Request
from elicit.schema import finite_or_none
from elicit.statistics import estimate_mean
from elicit.tasks import Problem, neutral_text

Context = Callable[[], AbstractContextManager[object]]


def measure_side_effects(policy: Policy, problems: Sequence[Problem]) -> dict[str, Any]:
    """Measure `{"kl": {"task": ..., "neutral": ...}, "neutral_perplexity": ...}` with estimates as JSON."""
    if not policy.has_distribution or policy.prompting != Prompting() or not problems:
        return {"kl": None, "neutral_perplexity": None}
    untouched: Context = nullcontext
    paths_base = generate_greedy_answers(Policy(policy.model, policy.decoding), problems)
    paths_arm = generate_greedy_answers(policy, problems)
    engine = policy.model.engine
    sentences = [
        _split_in_half(policy.model.encode(text)) for text in neutral_text.sample_held_out_sentences(len(problems))
    ]
    on_base = measure_divergences(engine, paths_base, untouched, policy.apply)
    on_arm = measure_divergences(engine, paths_arm, untouched, policy.apply)
    on_neutral = measure_divergences(engine, sentences, untouched, policy.apply)
    with policy.apply():
        scored = logprobs(engine, sentences)
    return {
        "kl": {
            "task": {
                "base_arm": _mean_to_json([d.base_arm for d in on_base]),
                "arm_base": _mean_to_json([d.arm_base for d in on_arm]),
            },
            "neutral": {
                "base_arm": _mean_to_json([d.base_arm for d in on_neutral]),
                "arm_base": _mean_to_json([d.arm_base for d in on_neutral]),
            },
        },
        "neutral_perplexity": _to_perplexity(float(np.mean([np.mean(row) for row in scored]))),
    }


def _to_perplexity(mean_logprob: float) -> float | None:
    """exp of a mean loss in nats; None if it overflows (a broken model)."""
    try:
        return finite_or_none(math.exp(-mean_logprob))
    except OverflowError:
        return None


def generate_greedy_answers(policy: Policy, problems: Sequence[Problem]) -> list[Scored]:
    """Generate the policy's greedy answer to each problem; returned with the prompt."""
    prompt_ids = [policy.model.encode(problem.prompt) for problem in problems]
    greedy = policy.decoding.replace(temperature=0.0, top_k=None, top_p=None, min_p=None)
    with policy.apply():
        completions = generate(policy.model.engine, [Request(ids, (0,)) for ids in prompt_ids], greedy)
    return [Scored(ids, choices[0].tokens) for ids, choices in zip(prompt_ids, completions, strict=True)]


def _split_in_half(ids: tuple[int, ...]) -> Scored:
    middle = max(1, len(ids) // 2)
    return Scored(ids[:middle], ids[middle:])


def _mean_to_json(values: list[float]) -> dict[str, Any]:
    return estimate_mean(np.array(values)).to_json()
