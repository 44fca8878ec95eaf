"""`forbid_first`: the base, greedy, without the likeliest first token. A floor: what gains no more has shown little.

1. Of the first token's distribution the `forbidden` likeliest tokens are not allowed.
2. The next likeliest one is taken, and greedy decoding goes on from there.

Nothing is known here about the task, and nothing is fitted. Where the base starts with its answer and a worked solution
opens with another token, this alone may bring the working out; a mechanism that acts on the first token (steering at
the first generated position, branching over first tokens) has to be compared with it.

Deviation: none from a paper; it is one path of CoT-decoding (2402.10200), chosen before looking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit.errors import ElicitError
from elicit.fitting.option_checks import check_positive
from elicit.method import Method, Traits, task_decoding
from elicit.search import to_result

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Decoding, Source
    from elicit.search import Query, SearchResult
    from elicit.tasks import Task


@dataclass(frozen=True)
class ForbidFirst(Method):
    """Greedy decoding that may not begin as the base would."""

    forbidden: int = 1
    """Number of likeliest first tokens that are not allowed."""

    traits: ClassVar[Traits] = Traits(family="frame", floor="forbidding the likeliest first token")

    def __post_init__(self) -> None:
        check_positive("forbid_first", forbidden=self.forbidden)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError if the model has no token left to begin with."""
        from elicit.policy import Policy

        search = ForbidFirstSearch(self.forbidden)
        search.check_first_tokens(base)
        return Policy(base, task_decoding(task), search=search)


@dataclass(frozen=True)
class ForbidFirstSearch:
    """The greedy completion after the likeliest first token that is allowed."""

    forbidden: int = 1

    kind: ClassVar[str] = "forbid_first"
    verifier: ClassVar[bool] = False

    def run(
        self, model: BaseModel, queries: Sequence[Query], decoding: Decoding, task: Task, forward: Source
    ) -> list[SearchResult]:
        """Answer every question.

        Raises:
            ElicitError: the decoding samples, or the model has no token left to begin with.
        """
        from elicit.sampling import generate

        if decoding.temperature > 0:
            raise ElicitError(
                f"forbid_first continues greedily, but temperature is {decoding.temperature:g}. Set it to 0."
            )
        self.check_first_tokens(model)
        requests = [query.build_request(1)._replace(ranks=(self.forbidden,)) for query in queries]
        batches = generate(model.engine, requests, decoding, forward)
        return [to_result(query, completions, 0) for query, completions in zip(queries, batches, strict=True)]

    def check_first_tokens(self, model: BaseModel) -> None:
        """Raise ElicitError if no first token is left."""
        from elicit.loading import rows

        possible = rows.count_rows(model.engine.hf) - len(model.engine.banned_ids)
        if self.forbidden >= possible:
            raise ElicitError(
                f"forbid_first: forbidden is {self.forbidden}, but {model.name} can only choose among {possible} first "
                "tokens."
            )
