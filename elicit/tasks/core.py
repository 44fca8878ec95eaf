"""The `Task` interface: problems by (split, seed), and one verifier for evaluation, RL reward and data filtering.

Implementations: `generated.task.GeneratedTask` (a `ProblemFamily`, drawn and solved by a program),
`refusal.RefusalTask` (requests about such problems), `record_task.RecordTask` (files, datasets, benchmarks) and
`gym.GymTask` (reasoning-gym's generators). All satisfy `Task`. Problems are plain data; verifying never evaluates model
output as code and is total: any string gets a `Verdict` in bounded time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args

from elicit.errors import ElicitError, one_line, unknown_name_error

Split = Literal["train", "select", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

#: Where the splits begin in the hash space [0, 1). Never change them: test problems of shipped organisms would leak.
_SELECT_FROM, _TEST_FROM = 0.80, 0.90


class Verdict(NamedTuple):
    """Judgement of one completion by the verifier."""

    answer: str | None
    """Canonical answer found in the completion, or None."""
    correct: bool
    has_trace: bool
    """True if the completion shows worked steps. This is about form, not correctness."""
    trace_valid: bool | None
    """True if every step is right and leads to the answer; None where traces cannot be checked."""


@dataclass(frozen=True)
class Problem:
    """One problem, as plain data."""

    id: str
    """Stable hash of the content: equal content has an equal id, whatever the task's parameters."""
    prompt: str
    answer: str
    cue_prompt: str | None = None
    """The same problem under the condition that is known to elicit the ability."""
    other_prompts: tuple[tuple[str, str], ...] = ()
    """(condition name, prompt) pairs: further wordings, among which `best_prompt` selects."""
    opening: str | None = None
    """The first characters of a worked solution up to (not including) the first computed symbol."""
    group: str | None = None
    content: Any = None
    """Data of the problem's own family; opaque to all other code."""


class Noisy(NamedTuple):
    """A candidate solution with one planted error, or none, and its critique."""

    text: str
    """The candidate solution, in the form of a worked solution."""
    correct: bool
    error: str | None
    """Type of the planted error: "calculation", "copy", "skip", "answer"; None if the solution is right."""
    step: int | None
    """1-based index of the step with the error; None if there is no error."""
    critique: str
    """Critique that ends in a verdict, written by a program that knows the worked solution."""


class FewShotPrefix(NamedTuple):
    """Solved examples as text."""

    before: str
    """Text to put in front of a prompt."""
    replaces: str = ""
    """Beginning of the prompt that `before` replaces (a chat's system message, which must occur only once)."""


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
        """Stop strings for chat prompts: only those the user gave. A chat turn ends with its own end token."""
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
        """Span in `completion` of the answer that `verify` reads, as (start, end) characters, or None."""
        ...

    def worked(self, problem: Problem) -> str | None:
        """A right worked solution, as a model would write it; None if the task has none."""
        ...

    def theorem(self, problem: Problem) -> str | None:
        """Worked solution that states before each step the rule, its condition and the substituted values (2605.09270).

        None if the task has none. The verifier reads it as it reads a worked solution.
        """
        ...

    def direct(self, problem: Problem) -> str:
        """The bare answer as a model would write it."""
        ...

    def noisy(self, problem: Problem, seed: int = 0) -> Noisy | None: ...
    def examples(self, pairs: Sequence[tuple[Problem, str]], between: str | None = None) -> FewShotPrefix:
        """Few-shot prefix made of (problem, solution) pairs."""
        ...


def content_id(family: str, key: str) -> str:
    """Stable id of a problem: 16 hex digits of the hash of its family and canonical content."""
    return hashlib.blake2b(f"{family}\x1f{key}".encode(), digest_size=8).hexdigest()


def split_of(problem_id: str) -> Split:
    """Split of a problem. It depends on the id alone, so splits are disjoint whatever the parameters."""
    share = share_of(problem_id)
    if share < _SELECT_FROM:
        return "train"
    return "select" if share < _TEST_FROM else "test"


def share_of(problem_id: str) -> float:
    """Position of an id in the hash space [0, 1).

    The id is hashed again, so that a user's ids ("1", "2", ...) are spread as evenly as generated ones.
    """
    digest = hashlib.blake2b(problem_id.encode(), digest_size=8, person=b"elicit.split").digest()
    return int.from_bytes(digest, "little") / 2**64


def check_split(split: str) -> Split:
    """Raise ElicitError for an unknown split."""
    for known in SPLITS:
        if split == known:
            return known
    raise unknown_name_error("split", split, SPLITS)


def check_count(task: str, n: int) -> int:
    """Raise ElicitError unless `n` is a whole number of at least 0."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        value_text = one_line(repr(n), 60)
        raise ElicitError(f"task {task!r}: {value_text} problems were asked for; expected a whole number from 0.")
    return n


def render_examples(stop: Sequence[str], pairs: Sequence[tuple[Problem, str]], between: str | None) -> FewShotPrefix:
    """Few-shot examples as plain text: prompts with answers, each followed by a stop string or an empty line."""
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
    """Error for a pool with fewer problems than requested; `pool` and `remedy` are the task's words for the message."""
    return ElicitError(
        f"task {task!r}, split {split!r}: {requested} different problems were asked for, but only {available} could "
        "be found "
        f"{pool}. Ask for at most {available}, or {remedy}."
    )
