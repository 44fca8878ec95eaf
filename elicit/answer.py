"""`Answer`: what a policy gives for one problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from elicit.search import Query, SearchResult


class Answer(NamedTuple):
    """A policy's answer to one problem."""

    text: str
    tokens: int
    """Generated tokens, including outvoted ones."""
    finished: bool
    firings: int
    prompt_tokens: int
    prompt: str
    notes: Mapping[str, float]
    """Statistics of the search; empty without one."""

    @classmethod
    def build(cls, prompt: str, query: Query, result: SearchResult) -> Answer:
        """The answer to a query whose prompt, without a forced opening, is `prompt`."""
        return cls(*result[:4], len(query.ids), prompt + query.opening, result.notes)
