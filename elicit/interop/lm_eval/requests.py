"""lm-eval's requests for text, sorted into what can be answered together, and their answers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from elicit.interop.lm_eval.answers import answered
from elicit.interop.lm_eval.decoding import decoding_for, overrides_sampling
from elicit.interop.lm_eval.problems import Known, known
from elicit.policy import Policy
from elicit.sampling import Decoding

#: Requests that are answered together; the sampler cuts them into batches by memory.
_CHUNK = 128


class Asked(NamedTuple):
    """One request for text."""

    place: int
    args: tuple[str, dict[str, Any]]
    """The context and the generation arguments."""
    repeat: int
    """How many equal requests came before: their samples must differ."""
    known: Known | None
    """The problem of ours that it asks, as it stands in our task file."""


class How(NamedTuple):
    """What decides the answers beside the policy."""

    seed: int
    room: int
    """Context length of the model in tokens."""
    keep_sampling: bool
    """Whether the policy's temperature and filters stand whatever a request says."""
    rows: int | None
    """Most requests at a time; None leaves it to the sampler."""
    warn: Callable[[str], None]


def answers(policy: Policy, requests: Sequence[Any], how: How) -> Iterator[tuple[Asked, str]]:
    """Every request with the policy's answer to it, as they come.

    Raises:
        ElicitError: an argument the lab does not have, or a policy that needs more than a context.
    """
    for group in _groups(requests):
        size = how.rows or _CHUNK
        for start in range(0, len(group), size):
            chunk = group[start : start + size]
            yield from zip(chunk, _together(policy, chunk, how), strict=True)


def _groups(requests: Sequence[Any]) -> list[list[Asked]]:
    """Requests of equal arguments, all from one task file of ours or all from elsewhere."""
    groups: dict[str, list[Asked]] = {}
    seen: dict[str, int] = {}
    for place, request in enumerate(requests):
        context, arguments = request.args
        said = json.dumps(arguments, sort_keys=True, default=str)
        name = json.dumps([context, said])
        repeat = seen[name] = seen.get(name, -1) + 1
        ours = known(getattr(request, "doc", None))
        if ours is not None and context != ours.problem.prompt:
            ours = None  # lm-eval put something around the prompt: it is not our problem any more
        key = [said, ours.origin.text(), repeat] if ours is not None else [said]
        groups.setdefault(json.dumps(key), []).append(Asked(place, (context, arguments), repeat, ours))
    return list(groups.values())


def _together(policy: Policy, group: Sequence[Asked], how: How) -> list[str]:
    arguments, first = group[0].args[1], group[0].known
    if first is None:
        policy = dataclasses.replace(policy, decoding=_decoding(policy, arguments, how))
        contexts = [(asked.args[0], asked.repeat) for asked in group]
        return answered(policy, contexts, seed=how.seed, room=how.room, warn=how.warn)
    # What the task file itself says of generation is for models that have no decoding of their own.
    own = first.origin.generation
    arguments = {name: value for name, value in arguments.items() if own.get(name) != value}
    policy = dataclasses.replace(policy, decoding=_decoding(policy, arguments, how))
    problems = [asked.known.problem for asked in group if asked.known is not None]
    label = first.origin.label + (f"#{group[0].repeat}" if group[0].repeat else "")
    return [answer.text for answer in policy.answer(problems, first.task, label=label, seed=how.seed)]


def _decoding(policy: Policy, arguments: Mapping[str, Any], how: How) -> Decoding:
    if overrides_sampling(policy.decoding, arguments):
        kept = "are not followed: the policy samples in its own way"
        taken = "take the place of the policy's own (sampling=policy keeps those)"
        how.warn(f"temperature and filters of the requests {kept if how.keep_sampling else taken}")
    return decoding_for(policy.decoding, arguments, keep_sampling=how.keep_sampling)
