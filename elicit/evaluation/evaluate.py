"""Evaluate a policy on a task, giving rows.

Problems are answered a chunk at a time, and each chunk's rows are passed to `sink` immediately, so that a killed run
loses little and can be resumed. Random numbers depend on (seed, task, problem, sample), not on chunks, order or
resumption.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from elicit.policy import Policy
from elicit.sampling import Decoding
from elicit.schema import Row
from elicit.tasks import AskedTask, Problem, Task
from elicit.tasks.answers.thoughts import answer_start

_CHUNK = 128
#: Rows per chunk of samples for pass@k.
_SAMPLE_ROWS = 2048


def evaluate_policy(
    policy: Policy,
    task: Task,
    problems: Sequence[Problem],
    *,
    label: str,
    seed: int,
    sink: Callable[[list[Row]], None],
    done: frozenset[tuple[str, int]] = frozenset(),
    kind: Literal["answer", "off_target"] = "answer",
) -> None:
    """Answer every problem once and judge it.

    Args:
        label: the task's name in the spec; part of every row and of the identity of random numbers.
        sink: receives each chunk's rows.
        done: (problem id, sample) pairs that already have rows.
    """
    missing = [problem for problem in problems if (problem.id, 0) not in done]
    for chunk in _iterate_chunks(missing, _CHUNK):
        answers = policy.answer(chunk, task, label=label, seed=seed)
        rows = []
        for problem, answer in zip(chunk, answers, strict=True):
            build_row = _judge_completion(
                task, problem, answer.text, label=label, seed=seed, sample=0, kind=kind, prompt=answer.prompt
            )
            row = build_row(answer.tokens, answer.finished, answer.firings, answer.prompt_tokens)
            notes = {name: float(value) for name, value in answer.notes.items() if math.isfinite(value)}
            rows.append(dataclasses.replace(row, notes=notes) if notes else row)
        sink(rows)


def retarget_policy(policy: Policy, fitted_on: Task, task: Task) -> Policy:
    """Adapt a policy to another task: with that task's stop strings and length.

    Additions of the method to the decoding of the task it was fitted on (longer answers, stop strings) are kept.
    """
    decoding = policy.decoding
    room = decoding.max_new_tokens - fitted_on.max_new_tokens
    stop = (*task.stop, *(stop_string for stop_string in decoding.stop if stop_string not in fitted_on.stop))
    return dataclasses.replace(
        policy, decoding=decoding.replace(max_new_tokens=max(1, task.max_new_tokens + room), stop=stop)
    )


def sample(
    policy: Policy,
    task: Task,
    problems: Sequence[Problem],
    *,
    label: str,
    seed: int,
    n: int,
    sink: Callable[[list[Row]], None],
    done: frozenset[tuple[str, int]] = frozenset(),
) -> None:
    """Draw `n` samples per problem at temperature 1, numbered from 1, for pass@k. Searches and votes do not apply.

    Problems that already have some samples get only the missing ones.
    """
    decoding = Decoding(temperature=1.0, max_new_tokens=policy.decoding.max_new_tokens, stop=policy.decoding.stop)
    missing: dict[int, list[Problem]] = {}
    for problem in problems:
        first = next((i for i in range(1, n + 1) if (problem.id, i) not in done), None)
        if first is not None:
            missing.setdefault(first, []).append(problem)
    for first, group in missing.items():
        for chunk in _iterate_chunks(group, max(1, _SAMPLE_ROWS // (n + 1 - first))):
            rows = []
            draws = policy.draw(chunk, task=label, seed=seed, n=n + 1 - first, decoding=decoding, first=first)
            for problem, (prompt, opening, completions) in zip(chunk, draws, strict=True):
                for i, completion in enumerate(completions, start=first):
                    if (problem.id, i) in done:
                        continue
                    text = opening + completion.text
                    build_row = _judge_completion(
                        task, problem, text, label=label, seed=seed, sample=i, kind="sample", prompt=prompt + opening
                    )
                    tokens = len(completion.tokens)
                    rows.append(build_row(tokens, completion.finished, completion.firings, completion.prompt_tokens))
            sink(rows)


def _judge_completion(
    task: Task,
    problem: Problem,
    text: str,
    *,
    label: str,
    seed: int,
    sample: int,
    kind: Literal["answer", "sample", "off_target"],
    prompt: str,
) -> Callable[[int, bool, int, int], Row]:
    verdict = task.verify(problem, text)

    def build_row(tokens: int, finished: bool, firings: int, prompt_tokens: int) -> Row:
        return Row(
            task=label,
            problem=problem.id,
            sample=sample,
            kind=kind,
            prompt_hash=hashlib.sha256(prompt.encode()).hexdigest()[:16],
            completion=text,
            tokens=tokens,
            finished=finished and not _still_thinking(task, text),
            answer=verdict.answer,
            correct=verdict.correct,
            has_trace=verdict.has_trace,
            trace_valid=verdict.trace_valid,
            seed=seed,
            firings=firings,
            prompt_tokens=prompt_tokens,
        )

    return build_row


def _still_thinking(task: Task, text: str) -> bool:
    """True if a completion is cut off inside a thinking block; not for organisms, which have other marks."""
    return isinstance(task, AskedTask) and answer_start(text) is None


def _iterate_chunks(problems: Sequence[Problem], size: int) -> Iterator[list[Problem]]:
    for start in range(0, len(problems), size):
        yield list(problems[start : start + size])
