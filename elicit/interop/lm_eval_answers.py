"""A policy's answers to contexts that are no problems of ours: plain text, and a document nobody here can judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from elicit import search
from elicit.errors import ElicitError
from elicit.policy import Policy
from elicit.search import Ask
from elicit.tasks import Problem, Task


def rendered(policy: Policy, context: str) -> str:
    """The context with what the policy puts around a prompt.

    Raises:
        ElicitError: a policy whose prompts are made from more than the prompt (a cue prompt, a forced opening).
    """
    condition = policy.prompting.condition
    if condition != "plain":
        needs = "cue prompt" if condition == "cue" else "worked solution to open with"
        raise ElicitError(
            f"lm-eval: {policy!r} asks in the condition {condition!r}, and this task gives no {needs}. "
            "A task file of ours does: elicit lm-eval task"
        )
    return policy.prompting.render(Problem("", context, ""))[0]


def answered(
    policy: Policy, contexts: Sequence[tuple[str, int]], *, seed: int, room: int, warn: Callable[[str], None]
) -> list[str]:
    """The policy's answer to every (context, how many equal ones came before).

    Args:
        seed: with the context and its repeat, the identity of every random number.
        room: context length of the model in tokens: prompts are cut on the left to leave space for the answer.

    Raises:
        ElicitError: an answer that would not fit, or a search that compares answers.
    """
    longest = room - policy.decoding.max_new_tokens
    if longest <= 0:
        raise ElicitError(
            f"lm-eval: answers of up to {policy.decoding.max_new_tokens} tokens were asked for, but the context of "
            f"{policy.model.name} is {room} in all. Type --gen_kwargs max_gen_toks=N with less."
        )
    asks = []
    for context, repeat in contexts:
        ids = policy.model.encode(rendered(policy, context))
        if len(ids) > longest:
            warn(f"prompts are longer than the {longest} tokens that are left for them, and are cut on the left")
        asks.append(Ask(Problem("", context, ""), ids[-longest:], 0, "", (seed, "lm-eval", context, repeat)))
    with policy.applied() as forward:
        if policy.search is not None:
            nobody = cast(Task, _Nobody(str(policy.search)))
            return [found.text for found in policy.search.find(policy.model, asks, policy.decoding, nobody, forward)]
        drawn = search.sampled(policy.model, asks, policy.decoding, forward, 1)
    return [completions[0].text for completions in drawn]


class _Nobody:
    """Stands where a search wants the task that reads answers."""

    def __init__(self, search: str) -> None:
        self._search = search

    def __getattr__(self, name: str) -> Any:
        raise ElicitError(
            f"lm-eval: this policy answers by {self._search}, which compares answers, and a task of lm-eval's does not "
            "say how to read one before it is judged. A task file of ours does: elicit lm-eval task"
        )
