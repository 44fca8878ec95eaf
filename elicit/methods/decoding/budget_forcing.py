"""`budget_forcing` (s1, 2501.19393): the base model, made to think no less and no more than so many tokens.

`elicit.search.budget` says where thinking ends and what is forced when. The marks that it needs are the model's: for
the built-in tasks thinking ends with the answer mark of the model's dialect, and an early one is ruled out without a
wait, since these models know no such word. For other tasks name them, such as end: "</think>", wait: "Wait",
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
    """Greedy decoding with a least and a greatest length of thinking."""

    min_tokens: int = 8
    """Tokens of thinking before which no ending is accepted."""
    max_tokens: int | None = None
    """Tokens of thinking after which the answer is forced; null leaves it to the model."""
    max_waits: int | None = None
    """Endings that are suppressed at most; null: as many as `min_tokens` takes."""
    end: str | None = None
    """Text that ends thinking; null: the answer mark of the model's dialect."""
    wait: str | None = None
    """Text in place of an ending that came too early; "" puts in nothing and rules the ending out; null: "" for the
    built-in tasks, else "Wait"."""
    answer: str | None = None
    """Text that is forced when thinking is at its limit; null: the same as `end`."""

    traits: ClassVar[Traits] = Traits(family="decoding")

    def __post_init__(self) -> None:
        if self.min_tokens < 0 or (self.max_tokens is not None and self.max_tokens < max(1, self.min_tokens)):
            raise ElicitError(
                f"budget_forcing: min_tokens is {self.min_tokens} and max_tokens {self.max_tokens}; expected "
                "0 <= min_tokens <= max_tokens, and max_tokens at least 1."
            )

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """Every wait runs prompt and draft again."""
        most = lengths.limit if self.max_tokens is None else self.max_tokens
        length = min(max(self.min_tokens + lengths.plain, lengths.plain), most + lengths.plain)
        prompt_runs = 1 + min(self.min_tokens, 4 if self.max_waits is None else self.max_waits)
        return CostEstimate(Generation(1, length, prompt_runs, lengths.prompt + length / 2))

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for a task without an answer mark of its own, unless `end` and `wait` are given."""
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
                f"budget_forcing: answers to task {task.name!r} have no mark that ends thinking. "
                'Say which text does, such as end: "Final Answer:".'
            )
        return end, ("Wait" if dialect is None else "") if self.wait is None else self.wait
