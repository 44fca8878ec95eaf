"""`budget_forcing` (s1, 2501.19393): the base model with a minimum and a maximum number of thinking tokens.

`elicit.search.budget` has the algorithm. The marks it needs depend on the model: for the built-in tasks thinking ends
with the answer mark of the model's prompt format, and an early one is suppressed without inserting a word, since these
models do not know any such word. For other tasks give them, such as end: "</think>", wait: "Wait",
answer: "</think> Final Answer:".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.errors import ElicitError
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class BudgetForcing(Method):
    """Greedy decoding with limits on the length of thinking."""

    min_tokens: int = 8
    """Fewest tokens of thinking; an earlier end is suppressed."""
    max_tokens: int | None = None
    """Most tokens of thinking, after which the answer is forced; null: no limit."""
    max_waits: int | None = None
    """Most endings to suppress; null: as many as `min_tokens` requires."""
    end: str | None = None
    """Text that ends thinking; null: the answer mark of the model's prompt format."""
    wait: str | None = None
    """Text in place of an early ending; "" inserts nothing and only suppresses the ending; null: "" for the
    built-in tasks, else "Wait"."""
    answer: str | None = None
    """Text forced when thinking reaches its limit; null: the same as `end`."""

    traits: ClassVar[Traits] = Traits(family="decoding")

    def __post_init__(self) -> None:
        if self.min_tokens < 0 or (self.max_tokens is not None and self.max_tokens < max(1, self.min_tokens)):
            raise ElicitError(
                f"budget_forcing: min_tokens is {self.min_tokens} and max_tokens {self.max_tokens}; expected "
                "0 <= min_tokens <= max_tokens, and max_tokens at least 1."
            )

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """Estimate the cost: every wait runs prompt and draft again."""
        most = lengths.limit if self.max_tokens is None else self.max_tokens
        length = min(max(self.min_tokens + lengths.plain, lengths.plain), most + lengths.plain)
        prompt_runs = 1 + min(self.min_tokens, 4 if self.max_waits is None else self.max_waits)
        return CostEstimate(Generation(1, length, prompt_runs, lengths.prompt + length / 2))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for a task without an answer mark, unless `end` and `wait` are given."""
        from elicit import search
        from elicit.policy import Policy

        end, wait = self._resolve_marks(task)
        answer = end if self.answer is None else self.answer
        forcing = search.BudgetForcingSearch(end, wait, answer, self.min_tokens, self.max_tokens, self.max_waits)
        forcing.check_decoding(base, task_decoding(task))
        return Policy(base, task_decoding(task), search=forcing)

    def _resolve_marks(self, task: Task) -> tuple[str, str]:
        from elicit.tasks import Dialect, GeneratedTask

        speech = task.dialect if isinstance(task, GeneratedTask) else None
        dialect = speech if isinstance(speech, Dialect) else None
        end = self.end if self.end is not None or dialect is None else dialect.mark
        if not end:
            raise ElicitError(
                f"budget_forcing: answers to task {task.name!r} do not have a known mark that ends "
                'thinking. Give its text, such as end: "Final Answer:".'
            )
        return end, ("Wait" if dialect is None else "") if self.wait is None else self.wait
