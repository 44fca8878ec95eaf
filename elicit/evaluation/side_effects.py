"""What an arm does beside the task: KL from the base, and perplexity of neutral text.

- `task`: KL(base || arm) along the base's own greedy answers, KL(arm || base) along the arm's own answers; exact over
  the vocabulary at every token, averaged over tokens, then over problems.
- `neutral`: both along held-out neutral sentences. The first half of a sentence counts as the prompt, so an edit at
  `first` fires in its middle and the figure covers what follows.

Arms that search (votes) have no next-token distribution of their own, and arms that only change the prompt are the base
itself on any given text: null for both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from elicit.policy import Policy, Prompting
from elicit.sampling import Scored, divergences, generate, logprobs
from elicit.sampling.decoding import Request
from elicit.schema import number
from elicit.statistics import mean
from elicit.tasks import Problem, neutral_text

Context = Callable[[], AbstractContextManager[object]]


def side_effects(policy: Policy, problems: Sequence[Problem]) -> dict[str, Any]:
    """`{"kl": {"task": ..., "neutral": ...}, "neutral_perplexity": ...}` with estimates as JSON."""
    if not policy.has_distribution or policy.prompting != Prompting() or not problems:
        return {"kl": None, "neutral_perplexity": None}
    untouched: Context = nullcontext
    paths_base = greedy_answers(Policy(policy.model, policy.decoding), problems)
    paths_arm = greedy_answers(policy, problems)
    engine = policy.model.engine
    sentences = [_halved(policy.model.encode(text)) for text in neutral_text.held_out(len(problems))]
    on_base = divergences(engine, paths_base, untouched, policy.applied)
    on_arm = divergences(engine, paths_arm, untouched, policy.applied)
    aside = divergences(engine, sentences, untouched, policy.applied)
    with policy.applied():
        scored = logprobs(engine, sentences)
    return {
        "kl": {
            "task": {"base_arm": _mean([d.base_arm for d in on_base]), "arm_base": _mean([d.arm_base for d in on_arm])},
            "neutral": {"base_arm": _mean([d.base_arm for d in aside]), "arm_base": _mean([d.arm_base for d in aside])},
        },
        "neutral_perplexity": _perplexity(float(np.mean([np.mean(row) for row in scored]))),
    }


def _perplexity(mean_logprob: float) -> float | None:
    """exp of a mean loss in nats; None where it is larger than a number can be (a model that has come apart)."""
    try:
        return number(math.exp(-mean_logprob))
    except OverflowError:
        return None


def greedy_answers(policy: Policy, problems: Sequence[Problem]) -> list[Scored]:
    """Each problem's prompt with the policy's greedy answer."""
    own = [policy.model.encode(problem.prompt) for problem in problems]
    greedy = policy.decoding.replace(temperature=0.0, top_k=None, top_p=None, min_p=None)
    with policy.applied():
        completions = generate(policy.model.engine, [Request(ids, (0,)) for ids in own], greedy)
    return [Scored(ids, one[0].tokens) for ids, one in zip(own, completions, strict=True)]


def _halved(ids: tuple[int, ...]) -> Scored:
    middle = max(1, len(ids) // 2)
    return Scored(ids[:middle], ids[middle:])


def _mean(values: list[float]) -> dict[str, Any]:
    return mean(np.array(values)).to_json()
