"""The base class for a task of your own: two methods to write, the rest has sensible defaults.

    # parity.py
    from elicit.tasks import Problem, TaskBase, Verdict, content_id, split_of

    class Parity(TaskBase):
        '''Is a number even?  Example: "Is 12 even? Answer yes or no.\\nA:" -> "yes".'''

        name = "parity"
        stop = ("\\n",)
        max_new_tokens = 8
        answer_space = 2

        def problems(self, split, n=None, seed=0):
            ids = ((content_id("parity", str(k)), k) for k in range(10_000))
            pool = [
                Problem(id, f"Is {k} even? Answer yes or no.\\nA:", "no" if k % 2 else "yes", content=k)
                for id, k in ids
                if split_of(id) == split
            ]
            return self.draw(pool, split, n, seed)

        def verify(self, problem, completion):
            words = completion.lower().split()
            answer = words[0].strip(".,") if words else None
            return Verdict(answer, answer == problem.answer, has_trace=False, trace_valid=None)

    elicit run spec.yaml                               # task: parity.py:Parity
    elicit.compare("gpt2", Parity(), arms=["base"])    # from parity import Parity

Options are the constructor's arguments (a frozen dataclass is the easiest way to have some).
"""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from elicit import seeds
from elicit.errors import ElicitError
from elicit.plugins import describe_class
from elicit.tasks.core import (
    FewShotPrefix,
    Noisy,
    Problem,
    Split,
    Verdict,
    check_count,
    check_split,
    render_examples,
    too_few_error,
)


class TaskBase(ABC):
    """A `Task` whose author writes `name`, `problems` and `verify`, and overrides what else the task has."""

    name: str
    stop: tuple[str, ...] = ()
    """Strings that end a completion."""
    max_new_tokens: int = 256
    """Longest completion, in tokens."""
    answer_space: int | None = None
    """Number of answers that a uniform guesser would choose from; None if unbounded."""

    @abstractmethod
    def problems(self, split: Split, n: int | None = None, seed: int = 0) -> list[Problem]:
        """`n` different problems of a split, the same for the same (split, seed); the first ones for a smaller `n`.

        No problem may stand in two splits: `split_of(id)` decides by the id alone. See `draw`.
        """

    @abstractmethod
    def verify(self, problem: Problem, completion: str) -> Verdict:
        """Judge a completion: any text, in bounded time, without running it as code."""

    def draw(self, pool: Sequence[Problem], split: Split, n: int | None, seed: int) -> list[Problem]:
        """`n` problems of a split's pool (all of them if None), in an order that depends on (name, split, seed) alone.

        Raises:
            ElicitError: unknown split, or fewer than `n` problems.
        """
        count = len(pool) if n is None else check_count(self.name, n)
        if count > len(pool) or not pool:
            raise too_few_error(self.name, check_split(split), max(count, 1), len(pool), pool="in the task's pool")
        random = seeds.make_generator("problems", self.name, check_split(split), seed)
        return [pool[index] for index in random.permutation(len(pool)).tolist()[:count]]

    @property
    def chat_stop(self) -> tuple[str, ...]:
        """None: a chat's turn ends by its end token."""
        return ()

    def prompts(self, split: Split, n: int | None = None, seed: int = 0) -> list[str]:
        return [problem.prompt for problem in self.problems(split, n, seed)]

    def answer_span(self, problem: Problem, completion: str) -> tuple[int, int] | None:
        """The last place where the answer that `verify` reads stands as it is written; None without one."""
        answer = self.verify(problem, completion).answer
        start = -1 if not answer else completion.rfind(answer)
        return None if start < 0 or answer is None else (start, start + len(answer))

    def worked(self, problem: Problem) -> str | None:
        return None

    def theorem(self, problem: Problem) -> str | None:
        return None

    def direct(self, problem: Problem) -> str:
        return problem.answer

    def noisy(self, problem: Problem, seed: int = 0) -> Noisy | None:
        return None

    def examples(self, pairs: Sequence[tuple[Problem, str]], between: str | None = None) -> FewShotPrefix:
        return render_examples(self.stop, pairs, between)

    def spec(self) -> Mapping[str, Any]:
        """The mapping that a spec would name this task by, `{"task": "my_file.py:MyTask", **options}`.

        Raises:
            ElicitError: a class that cannot be loaded again, or options that it does not tell.
        """
        return describe_object(self)


def describe_object(value: Any) -> dict[str, Any]:
    """`{"task": reference, **options}` of a dataclass, or of an object whose class takes no options.

    Raises:
        ElicitError: a class that cannot be loaded again, or options that it does not tell.
    """
    kind = type(value)
    if dataclasses.is_dataclass(value):
        options = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    elif inspect.signature(kind).parameters:
        raise ElicitError(
            f"{kind.__qualname__} does not say its options. Add: def spec(self): return "
            f"{{'task': 'my_file.py:{kind.__qualname__}', 'option': self.option}}"
        )
    else:
        options = {}
    return {"task": describe_class(kind), **options}
