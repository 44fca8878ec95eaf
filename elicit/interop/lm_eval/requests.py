"""lm-eval's requests for text, sorted into what can be answered together, and their answers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from elicit.interop.lm_eval.answers import answer_contexts
from elicit.interop.lm_eval.decoding import overrides_sampling, resolve_decoding
from elicit.interop.lm_eval.problems import LabDocument, restore_document
from elicit.policy import Policy
from elicit.sampling import Decoding

#: Requests that are answered together; the sampler cuts them into batches by memory.
_CHUNK = 128


class TextRequest(NamedTuple):
    """One request for text."""

    position: int
    args: tuple[str, dict[str, Any]]
    """The context and the generation arguments."""
    repeat: int
    """How many equal requests came before: their samples must differ."""
    document: LabDocument | None
    """The problem of ours that it asks, as it stands in our task file."""


class AnswerSettings(NamedTuple):
    """Settings that determine the answers together with the policy."""

    seed: int
    room: int
    """Context length of the model in tokens."""
    keep_sampling: bool
    """Whether the policy's temperature and filters stand whatever a request says."""
    rows: int | None
    """Most requests at a time; None leaves it to the sampler."""
    warn: Callable[[str], None]


def answer_requests(
    policy: Policy, requests: Sequence[Any], settings: AnswerSettings
) -> Iterator[tuple[TextRequest, str]]:
    """Every request with the policy's answer to it, as they come.

    Raises:
        ElicitError: an argument the lab does not have, or a policy that needs more than a context.
    """
    for group in _group_requests(requests):
        size = settings.rows or _CHUNK
        for start in range(0, len(group), size):
            chunk = group[start : start + size]
            yield from zip(chunk, _answer_group(policy, chunk, settings), strict=True)


def _group_requests(requests: Sequence[Any]) -> list[list[TextRequest]]:
    """Requests of equal arguments, all from one task file of ours or all from elsewhere."""
    groups: dict[str, list[TextRequest]] = {}
    seen: dict[str, int] = {}
    for position, request in enumerate(requests):
        context, arguments = request.args
        arguments_json = json.dumps(arguments, sort_keys=True, default=str)
        name = json.dumps([context, arguments_json])
        repeat = seen[name] = seen.get(name, -1) + 1
        document = restore_document(getattr(request, "doc", None))
        if document is not None and context != document.problem.prompt:
            document = None  # lm-eval put something around the prompt: it is not our problem any more
        key = [arguments_json, document.origin.to_json(), repeat] if document is not None else [arguments_json]
        groups.setdefault(json.dumps(key), []).append(TextRequest(position, (context, arguments), repeat, document))
    return list(groups.values())


def _answer_group(policy: Policy, group: Sequence[TextRequest], settings: AnswerSettings) -> list[str]:
    arguments, first = group[0].args[1], group[0].document
    if first is None:
        policy = dataclasses.replace(policy, decoding=_decode_with_warning(policy, arguments, settings))
        contexts = [(request.args[0], request.repeat) for request in group]
        return answer_contexts(policy, contexts, seed=settings.seed, room=settings.room, warn=settings.warn)
    # What the task file itself says of generation is for models that have no decoding of their own.
    file_generation = first.origin.generation
    arguments = {name: value for name, value in arguments.items() if file_generation.get(name) != value}
    policy = dataclasses.replace(policy, decoding=_decode_with_warning(policy, arguments, settings))
    problems = [request.document.problem for request in group if request.document is not None]
    label = first.origin.label + (f"#{group[0].repeat}" if group[0].repeat else "")
    return [answer.text for answer in policy.answer(problems, first.task, label=label, seed=settings.seed)]


def _decode_with_warning(policy: Policy, arguments: Mapping[str, Any], settings: AnswerSettings) -> Decoding:
    if overrides_sampling(policy.decoding, arguments):
        ignored_note = "are not followed: the policy samples in its own way"
        override_note = "take the place of the policy's own (sampling=policy keeps those)"
        settings.warn(
            f"temperature and filters of the requests {ignored_note if settings.keep_sampling else override_note}"
        )
    return resolve_decoding(policy.decoding, arguments, keep_sampling=settings.keep_sampling)
