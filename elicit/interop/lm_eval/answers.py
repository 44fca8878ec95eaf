"""A policy's answers to contexts that are no problems of ours: plain text, and a document nobody here can judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from elicit import search
from elicit.errors import ElicitError
from elicit.loading.continuing import decode_continuation
from elicit.policy import Policy
from elicit.search import Query
from elicit.search.core import SearchResult
from elicit.tasks import Problem, Task


def render_context(policy: Policy, context: str) -> str:
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


def answer_contexts(
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
        ids = policy.model.encode(render_context(policy, context))
        if len(ids) > longest:
            warn(f"prompts are longer than the {longest} tokens that are left for them, and are cut on the left")
        asks.append(Query(Problem("", context, ""), ids[-longest:], 0, "", (seed, "lm-eval", context, repeat)))
    with policy.apply() as forward:
        if policy.search is not None:
            missing_task = cast(Task, _MissingTask(str(policy.search)))
            results = policy.search.run(policy.model, asks, policy.decoding, missing_task, forward)
            return [_decode_alone(policy, ask, result) for ask, result in zip(asks, results, strict=True)]
        samples = search.sample_completions(policy.model, asks, policy.decoding, forward, 1)
    results = [search.to_result(ask, completions, 0) for ask, completions in zip(asks, samples, strict=True)]
    return [_decode_alone(policy, ask, result) for ask, result in zip(asks, results, strict=True)]


def _decode_alone(policy: Policy, ask: Query, result: SearchResult) -> str:
    """The text as lm-eval's HFLM decodes it: by itself, which takes SentencePiece's space from its front."""
    tokenizer = policy.model.tokenizer
    alone = str(tokenizer.decode(list(result.ids), skip_special_tokens=True))
    return result.text[1:] if decode_continuation(tokenizer, result.ids, ask.ids) == " " + alone else result.text


class _MissingTask:
    """Stands where a search wants the task that reads answers."""

    def __init__(self, search: str) -> None:
        self._search = search

    def __getattr__(self, name: str) -> Any:
        raise ElicitError(
            f"lm-eval: this policy answers by {self._search}, which compares answers, and a task of lm-eval's does not "
            "say how to read one before it is judged. A task file of ours does: elicit lm-eval task"
        )
