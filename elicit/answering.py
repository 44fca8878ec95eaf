"""Answers of several policies to the same problems, in one batch where an outside engine runs them.

There every row of a batch has edits of its own: a sweep over layers, strengths or vectors costs as much as one arm with
as many rows. In this process a batch has one policy.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import ExitStack

from elicit.answer import Answer
from elicit.policy import Policy
from elicit.search import to_result
from elicit.tasks import Problem, Task

#: Most rows that one call of an outside engine is given.
_ROWS = 8192


def answer_together(
    policies: Sequence[Policy], problems: Sequence[Problem], task: Task, *, label: str, seed: int
) -> list[list[Answer]]:
    """What `policy.answer` gives for every policy.

    Policies that an outside engine runs and that differ in edits and prompts alone share its batches.
    """
    groups: dict[Hashable, list[int]] = {}
    for i, policy in enumerate(policies):
        groups.setdefault(_find_batch(policy) or i, []).append(i)
    answers: dict[int, list[Answer]] = {}
    most = max(1, _ROWS // max(1, len(problems)))
    for members in groups.values():
        for part in (members[i : i + most] for i in range(0, len(members), most)):
            together = [policies[i] for i in part]
            if len(together) == 1:
                given = [together[0].answer(problems, task, label=label, seed=seed)]
            else:
                given = _answer_in_one_batch(together, problems, label, seed)
            answers |= dict(zip(part, given, strict=True))
    return [answers[i] for i in range(len(policies))]


def _find_batch(policy: Policy) -> Hashable:
    """What policies that can share a batch have in common; None for one that runs alone."""
    if policy.model.outside is None or policy.search is not None or policy.obstacle is not None:
        return None
    weights = None if policy.weights is None else policy.weights.sha256
    return id(policy.model.outside), id(policy.model.hf), weights, policy.decoding


def _answer_in_one_batch(
    policies: Sequence[Policy], problems: Sequence[Problem], label: str, seed: int
) -> list[list[Answer]]:
    first = policies[0]
    outside = first.model.outside
    assert outside is not None
    rendered = [policy.build_queries(problems, label, seed) for policy in policies]
    with ExitStack() as stack:
        parts = [
            (
                stack.enter_context(outside.open(policy.weights, policy.steering)),
                [query.build_request(1) for query in queries],
            )
            for policy, (_, queries) in zip(policies, rendered, strict=True)
        ]
        completions = outside.generate_together(first.model.engine, parts, first.decoding)
    return [
        [
            Answer.build(prompt, query, to_result(query, samples, 0))
            for prompt, query, samples in zip(prompts, queries, rows, strict=True)
        ]
        for (prompts, queries), rows in zip(rendered, completions, strict=True)
    ]
