"""Decoding options, requests to the sampler, and completions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, NamedTuple

from elicit.errors import ElicitError, unknown_name_error
from elicit.schema import Finish


@dataclass(frozen=True)
class Decoding:
    """Decoding options; greedy by default. Filters apply in transformers' order: temperature, top-k, top-p, min-p."""

    temperature: float = 0.0
    """0 is greedy; above it, sampling from softmax(logits / temperature)."""
    top_k: int | None = None
    """Keep the k most probable tokens."""
    top_p: float | None = None
    """Keep the smallest set of tokens with at least this probability (nucleus sampling)."""
    min_p: float | None = None
    """Keep tokens with at least this fraction of the most probable token's probability (2407.01082)."""
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()
    """Strings that end a completion; they are not part of its text."""

    def __post_init__(self) -> None:
        stop: object = self.stop  # accept a single string
        object.__setattr__(self, "stop", (stop,) if isinstance(stop, str) else tuple(self.stop))
        problems = [
            (self.temperature >= 0, f"temperature is {self.temperature}; expected 0 (greedy) or more"),
            (self.top_k is None or self.top_k >= 1, f"top_k is {self.top_k}; expected at least 1"),
            (self.top_p is None or 0 < self.top_p <= 1, f"top_p is {self.top_p}; expected above 0 and at most 1"),
            (self.min_p is None or 0 <= self.min_p <= 1, f"min_p is {self.min_p}; expected 0 to 1"),
            (self.max_new_tokens >= 1, f"max_new_tokens is {self.max_new_tokens}; expected at least 1"),
            (all(self.stop), "a stop string is empty"),
            (
                self.temperature > 0 or (self.top_k, self.top_p, self.min_p) == (None, None, None),
                "top_k, top_p and min_p do nothing at temperature 0",
            ),
        ]
        for fine, message in problems:
            if not fine:
                raise ElicitError(f"decoding: {message}.")

    def replace(self, **changes: object) -> Decoding:
        """The same decoding with other values. Raises ElicitError for an unknown field."""
        names = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise unknown_name_error("field of decoding", name, names)
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


class Completion(NamedTuple):
    """One sampled continuation of one prompt."""

    tokens: tuple[int, ...]
    """New tokens, including the end token (if any)."""
    text: str
    """Their text without special tokens, up to the stop string."""
    finish: Finish
    """"eos": the model ended; "stop": a stop string appeared; "length": cut at the limit."""
    logprobs: tuple[float, ...]
    """log p(x_t | x_<t) of each chosen token under the untempered, unfiltered distribution, in nats."""
    prompt_tokens: int
    firings: int
    """Number of (position, edit) pairs that interventions touched in this row."""
    measured: tuple[float, ...] = ()
    """The requested measurement at every token (`Measure`); empty without one."""

    @property
    def finished(self) -> bool:
        return self.finish != "length"

    def __repr__(self) -> str:
        return f"Completion({self.text!r}, {len(self.tokens)} tokens, {self.finish})"


#: Quantities that `generate` can measure at every token, in addition to log p of the chosen one.
#: margin: p(most probable token) - p(second), of the untempered, unfiltered distribution.
#: drawn: log q of the chosen token under the distribution it was sampled from (tempered, filtered), in nats.
Measure = Literal["margin", "drawn"]


class Request(NamedTuple):
    """One prompt and the keys of the samples requested from it."""

    ids: tuple[int, ...]
    keys: tuple[int, ...]
    """One random-number key (`seeds.key`) per sample; greedy decoding ignores their values."""
    forced: int = 0
    """Number of tokens at the end of `ids` that steering counts as generated: a forced opening, or earlier tokens."""
    continued: int = 0
    """Number of tokens at the end of `ids` that already belong to the completion: its text and stop strings include
    them. They count in `forced`; the completion's `tokens` are only the new ones."""
    limit: int | None = None
    """Most new tokens, if fewer than the decoding's."""
    ranks: tuple[int, ...] = ()
    """For every sample, the rank of its first new token in the model's distribution (0: the most probable; of equals,
    the lower id first); empty: the decoding chooses."""
    floor: float = 0.0
    """A sample whose first token, given by its rank, has less than this fraction of the largest probability ends after
    that token."""
    avoid: tuple[int, ...] = ()
    """Ids forbidden for the first new token."""
