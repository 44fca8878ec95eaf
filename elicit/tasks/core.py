"""What a task is: problems by (split, seed), and a verifier that serves evaluation, reward and filtering alike.

Implementations: `generated.GeneratedTask` (a `Family` of problems that a program draws and solves), `refusal.Refusal`
(requests about such problems), `record_task.RecordTask` (files, datasets, benchmarks) and `gym.GymTask`
(reasoning-gym's generators). All satisfy `Task`. Problems are plain data; verifying never evaluates model output as
code and is total: any string gets a `Verdict` in bounded time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args

from elicit.errors import ElicitError, one_line, unknown_name_error

Split = Literal["train", "select", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

#: Share of the hash space each split owns. Fixed for good: moving a bound would leak shipped organisms' test problems.
_SELECT_FROM, _TEST_FROM = 0.80, 0.90


class Verdict(NamedTuple):
    """What the verifier says of one completion."""

    answer: str | None
    """Canonical answer found in the completion, or None."""
    correct: bool
    has_trace: bool
    """The completion shows worked steps (form, not correctness)."""
    trace_valid: bool | None
    """Every step is right and leads to the answer; None where traces cannot be checked."""


@dataclass(frozen=True)
class Problem:
    """One problem, as plain data."""

    id: str
    """Stable hash of the content: equal content has an equal id whatever the parameters of the task."""
    prompt: str
    answer: str
    cue_prompt: str | None = None
    """The same problem under the condition that is known to bring the ability out."""
    other_prompts: tuple[tuple[str, str], ...] = ()
    """(name of the condition, prompt): further ways to ask, among which the base's best is looked for."""
    opening: str | None = None
    """The first characters of a worked solution up to (not including) the first computed symbol."""
    group: str | None = None
    content: Any = None
    """The family's own data; opaque to everybody else."""


class Noisy(NamedTuple):
    """A solution with one planted error (or none), and what a critic would say of it."""

    text: str
    """The candidate solution, in the form of a worked solution."""
    correct: bool
    error: str | None
    """Type of the planted error: "calculation", "copy", "skip", "answer"; None if the solution is right."""
    step: int | None
    """1-based step the error sits in; None if there is none."""
    critique: str
    """Critique ending in a verdict, written by a program that knows the worked solution."""


class FewShotPrefix(NamedTuple):
    """Solved examples, as text."""

    before: str
    """What stands in front of a prompt."""
    replaces: str = ""
    """The beginning of the prompt that `before` stands in the place of (a chat's system message, which comes once)."""


class Task(Protocol):
    """The interface every task satisfies.

    >>> task = elicit.tasks.get("addition")  # doctest: +SKIP
    >>> task.problems("test", n=1)[0].prompt  # doctest: +SKIP
    'Q:47+38\\nA:'
    """

    @property
    def name(self) -> str: ...
    @property
    def stop(self) -> tuple[str, ...]: ...
    @property
    def chat_stop(self) -> tuple[str, ...]:
        """Stop strings of a chat's turn, which ends by its end token: those that a user gave, and no guesses."""
        ...

    @property
    def max_new_tokens(self) -> int: ...
    @property
    def answer_space(self) -> int | None:
        """Number of answers a uniform guesser would choose from; None if unbounded."""
        ...

    def problems(self, split: Split, n: int | None = None, seed: int = 0) -> list[Problem]: ...
    def prompts(self, split: Split, n: int | None = None, seed: int = 0) -> list[str]: ...
    def verify(self, problem: Problem, completion: str) -> Verdict: ...
    def answer_span(self, problem: Problem, completion: str) -> tuple[int, int] | None:
        """Where in `completion` the answer stands that `verify` reads, as (start, end) characters; None without one."""
        ...

    def worked(self, problem: Problem) -> str | None:
        """A right worked solution, as a model would write it; None if the task has none."""
        ...

    def theorem(self, problem: Problem) -> str | None:
        """A worked solution that states before each step the rule, its condition and what is put into it (2605.09270).

        None if the task has none. The verifier reads it as it reads a worked solution.
        """
        ...

    def direct(self, problem: Problem) -> str:
        """The bare answer, as a model would write it."""
        ...

    def noisy(self, problem: Problem, seed: int = 0) -> Noisy | None: ...
    def examples(self, pairs: Sequence[tuple[Problem, str]], between: str | None = None) -> FewShotPrefix:
        """Problems and what is answered to them, as they stand in front of another problem's prompt."""
        ...


def content_id(family: str, key: str) -> str:
    """Stable id of a problem: 16 hex digits of the hash of its canonical content."""
    return hashlib.blake2b(f"{family}\x1f{key}".encode(), digest_size=8).hexdigest()


def split_of(problem_id: str) -> Split:
    """The split a problem belongs to: by its id alone, so splits are disjoint whatever the parameters."""
    share = share_of(problem_id)
    if share < _SELECT_FROM:
        return "train"
    return "select" if share < _TEST_FROM else "test"


def share_of(problem_id: str) -> float:
    """The place in [0, 1) that an id is hashed to.

    The id is hashed once more, so that a user's own ids ("1", "2", ...) spread as well as ours.
    """
    digest = hashlib.blake2b(problem_id.encode(), digest_size=8, person=b"elicit.split").digest()
    return int.from_bytes(digest, "little") / 2**64


def check_split(split: str) -> Split:
    """Raises ElicitError for an unknown split."""
    for known in SPLITS:
        if split == known:
            return known
    raise unknown_name_error("split", split, SPLITS)


def check_count(task: str, n: int) -> int:
    """Raises ElicitError unless `n` can be a number of problems."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        value_text = one_line(repr(n), 60)
        raise ElicitError(f"task {task!r}: {value_text} problems were asked for; expected a whole number from 0.")
    return n


def render_examples(stop: Sequence[str], pairs: Sequence[tuple[Problem, str]], between: str | None) -> FewShotPrefix:
    """Examples as plain text: prompt and answer, each closed by what ends an answer of the task, or an empty line."""
    closing = between if between is not None else "\n" if "\n" in stop else "\n\n"
    return FewShotPrefix("".join(problem.prompt + answer + closing for problem, answer in pairs))


def too_few_error(
    task: str,
    split: str,
    requested: int,
    available: int,
    *,
    pool: str = "with these parameters",
    remedy: str = "widen the parameters",
) -> ElicitError:
    """The error for a pool that is smaller than what was asked of it; `pool` and `remedy` word it for the task."""
    return ElicitError(
        f"task {task!r}, split {split!r}: {requested} different problems were asked for, but only {available} could "
        "be found "
        f"{pool}. Ask for at most {available}, or {remedy}."
    )
