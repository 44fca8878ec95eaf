"""`budget_forcing` (s1, 2501.19393): a minimum and a maximum of thinking tokens.

1. Thinking begins with the first generated token. It ends with the first of these: the text `end` appears (the answer
   mark), and thinking is what precedes the token in which it begins; the model stops by itself (its end token, or a
   stop string), likewise; `max_tokens` tokens of thinking are generated.
2. An ending before `min_tokens` tokens is suppressed: its tokens are removed and replaced by `wait`; without a `wait`,
   the token that began the ending is forbidden at that position and the model chooses another. At most `max_waits`
   endings are suppressed (None: no limit).
3. At `max_tokens`, `answer` is forced.
4. The text after `end` or `answer` is the answer, which runs to the decoding's own limits.

Forced tokens count as thinking, and forced and removed tokens count as cost.

The marks depend on the model: for the built-in tasks thinking ends with the answer mark of the model's prompt format,
and an early one is suppressed without inserting a word, since these models do not know any such word. For other tasks
give them, such as end: "</think>", wait: "Wait", answer: "</think> Final Answer:".

Deviation: the paper appends "Wait" a fixed number of times and forces "Final Answer:"; here the number of waits follows
from `min_tokens`, up to `max_waits`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding
from elicit.search import SearchResult

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Completion, Decoding, Request, Source
    from elicit.search import Query
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
        check_thinking_limits(self.min_tokens, self.max_tokens, self.max_waits)

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
        from elicit.policy import Policy

        end, wait = self._resolve_marks(task)
        answer = end if self.answer is None else self.answer
        search = BudgetForcingSearch(end, wait, answer, self.min_tokens, self.max_tokens, self.max_waits)
        search.check_decoding(base, task_decoding(task))
        return Policy(base, task_decoding(task), search=search)

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


def check_thinking_limits(min_tokens: int, max_tokens: int | None, max_waits: int | None) -> None:
    """Raise ElicitError for limits on the length of thinking that cannot all be kept."""
    if min_tokens < 0 or (max_tokens is not None and max_tokens < max(1, min_tokens)):
        raise ElicitError(
            f"budget_forcing: min_tokens is {min_tokens} and max_tokens {max_tokens}; expected "
            "0 <= min_tokens <= max_tokens, and max_tokens at least 1."
        )
    if max_waits is not None and max_waits < 0:
        raise ElicitError(f"budget_forcing: max_waits is {max_waits}; expected 0 or more.")


@dataclass
class _Draft:
    """A completion in progress."""

    query: Query
    tokens: list[int] = field(default_factory=list)
    stage: Literal["thinking", "answering", "done"] = "thinking"
    avoid: set[int] = field(default_factory=set)
    """Tokens forbidden at the next position."""
    text: str = ""
    finished: bool = False
    paid: int = 0
    firings: int = 0
    thought: int = 0
    """Number of thinking tokens, once thinking has ended."""
    waits: int = 0
    forced: bool = False

    def build_request(self, limit: int) -> Request:
        """Request the next tokens, up to `limit` in all."""
        from elicit.sampling import Request

        query, have = self.query, len(self.tokens)
        key = query.derive_key("budget", self.stage, have, sorted(self.avoid))
        ids = (*query.ids, *self.tokens)
        return Request(ids, (key,), query.forced + have, have, limit - have, avoid=tuple(sorted(self.avoid)))

    def to_result(self) -> SearchResult:
        notes = {"waits": float(self.waits), "thinking": float(self.thought), "forced": float(self.forced)}
        return SearchResult(
            self.query.opening + self.text, self.paid, self.finished, self.firings, notes, tuple(self.tokens)
        )


@dataclass(frozen=True)
class BudgetForcingSearch:
    """One completion per question, with limits on the length of thinking. The options are those of `BudgetForcing`."""

    end: str
    wait: str
    answer: str
    min_tokens: int = 0
    max_tokens: int | None = None
    max_waits: int | None = None

    kind: ClassVar[str] = "budget_forcing"
    verifier: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_thinking_limits(self.min_tokens, self.max_tokens, self.max_waits)
        for name, text in (("end", self.end), ("answer", self.answer)):
            if not text:
                raise ElicitError(f"budget_forcing: {name} is empty; expected a text.")
        if self.end in self.wait:
            raise ElicitError(f"budget_forcing: wait {self.wait!r} holds the end mark {self.end!r}.")

    def run(
        self, model: BaseModel, queries: Sequence[Query], decoding: Decoding, task: Task, forward: Source
    ) -> list[SearchResult]:
        """Raise ElicitError if the decoding lacks room for the answer, or would stop at a mark or forced text."""
        self.check_decoding(model, decoding)
        drafts = [_Draft(query) for query in queries]
        most = decoding.max_new_tokens if self.max_tokens is None else self.max_tokens
        thinking = decoding.replace(stop=(self.end, *decoding.stop))
        while live := [draft for draft in drafts if draft.stage == "thinking"]:
            for draft, completion in _extend_drafts(model, live, thinking, most, forward):
                self._advance_thinking(model, decoding, draft, completion)
        live = [draft for draft in drafts if draft.stage == "answering"]
        for draft, completion in _extend_drafts(model, live, decoding, decoding.max_new_tokens, forward):
            draft.tokens = [*draft.tokens, *completion.tokens]
            draft.text, draft.finished = completion.text, completion.finished
        return [draft.to_result() for draft in drafts]

    def check_decoding(self, model: BaseModel, decoding: Decoding) -> None:
        """Raise ElicitError if the decoding lacks room for the answer, or would stop at a mark or forced text."""
        for name, text in (("end", self.end), ("wait", self.wait), ("answer", self.answer)):
            if any(stop in text for stop in decoding.stop):
                raise ElicitError(f"budget_forcing: {name} {text!r} holds one of the stop strings {decoding.stop!r}.")
        room = decoding.max_new_tokens - len(model.continuation(self.answer))
        if self.max_tokens is not None and self.max_tokens >= room:
            raise ElicitError(
                f"budget_forcing: max_tokens is {self.max_tokens}, but a completion has at most "
                f"{decoding.max_new_tokens} tokens: no room for an answer. Give at most {room - 1}."
            )

    def _advance_thinking(self, model: BaseModel, decoding: Decoding, draft: _Draft, completion: Completion) -> None:
        """Update a draft whose thinking has reached the next ending or limit."""
        from elicit.loading.continuing import decode_continuation
        from elicit.sampling import truncate_at_stop
        from elicit.search.spans import find_token_at, locate_tokens

        tokens = [*draft.tokens, *completion.tokens]
        if completion.finish == "length":
            self._apply_limit(model, draft, tokens)
            return
        cut = len(tokens) - 1
        if completion.finish == "stop":  # the ending begins in the token of the first character after the text
            cut = max(
                len(draft.tokens),
                min(cut, find_token_at(locate_tokens(model.tokenizer, tokens, draft.query.ids), len(completion.text))),
            )
        if cut < self.min_tokens and (self.max_waits is None or draft.waits < self.max_waits):
            self._suppress_ending(model, decoding, draft, tokens, cut)
            return
        whole = decode_continuation(model.tokenizer, tokens, draft.query.ids)
        marked = completion.finish == "stop" and whole[len(completion.text) :].startswith(self.end)
        draft.tokens, draft.thought, draft.avoid = tokens, cut, set()
        draft.text, stopped = truncate_at_stop(whole, decoding.stop)
        draft.finished = stopped or not marked
        draft.stage = "answering" if marked and not stopped and len(tokens) < decoding.max_new_tokens else "done"

    def _suppress_ending(
        self, model: BaseModel, decoding: Decoding, draft: _Draft, tokens: list[int], cut: int
    ) -> None:
        """Remove the tokens after the first `cut`; insert the wait, or forbid the first removed token."""
        draft.waits += 1
        if not self.wait:
            draft.avoid = {tokens[cut], *(draft.avoid if cut == len(draft.tokens) else ())}
            draft.tokens = tokens[:cut]
            return
        most = decoding.max_new_tokens if self.max_tokens is None else self.max_tokens
        wait_ids = list(model.continuation(self.wait))[: most - cut]
        draft.paid += len(wait_ids)
        draft.tokens, draft.avoid = tokens[:cut] + wait_ids, set()
        if len(draft.tokens) == most:
            self._apply_limit(model, draft, draft.tokens)

    def _apply_limit(self, model: BaseModel, draft: _Draft, tokens: list[int]) -> None:
        """Force the answer when thinking reaches `max_tokens`; without that limit, cut the completion."""
        from elicit.loading.continuing import decode_continuation

        draft.tokens, draft.thought, draft.avoid = tokens, len(tokens), set()
        draft.text = decode_continuation(model.tokenizer, tokens, draft.query.ids)
        draft.stage = "done"
        if self.max_tokens is not None:
            answer_ids = model.continuation(self.answer)
            draft.tokens = [*tokens, *answer_ids]
            draft.paid += len(answer_ids)
            draft.forced, draft.stage = True, "answering"


def _extend_drafts(
    model: BaseModel, drafts: list[_Draft], decoding: Decoding, limit: int, forward: Source
) -> Iterator[tuple[_Draft, Completion]]:
    """Yield every draft with its continuation, up to `limit` tokens in all."""
    from elicit.sampling import generate

    batches = generate(model.engine, [draft.build_request(limit) for draft in drafts], decoding, forward)
    for draft, (completion,) in zip(drafts, batches, strict=True):
        draft.paid += len(completion.tokens)
        draft.firings += completion.firings
        yield draft, completion
