"""Detect stop strings as tokens arrive, in the text of the completion as it continues its prompt.

A stop string may begin or end in a space or a newline. The name of a special token, which is not text, stops as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool

from elicit.loading import rows
from elicit.loading.continuing import PARTIAL, decode_continuation, decode_vocabulary


class Stopper:
    """Detects stop strings, decoding text only when a token could complete one.

    Only a token whose text contains the string's last character (or part of one, for byte-level tokens) can complete a
    stop string, so most steps do not need decoding.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._special = frozenset(i for i, token in tokenizer.added_tokens_decoder.items() if str(token) in stop)
        self.candidates: Bool[np.ndarray, " vocab"] | None = None
        """Tokens that could complete a stop string; None without stop strings."""
        if stop:
            self.candidates = _find_candidate_tokens(tokenizer, len(tokenizer), stop).copy()
            self.candidates[list(self._special)] = True

    def has_stop(self, tokens: list[int], prompt: Sequence[int] | None = None) -> bool:
        """True if the text of `tokens`, which continue `prompt`, contains a stop string, or the last token is one."""
        return tokens[-1] in self._special or self.truncate_text(self.decode_text(tokens, prompt))[1]

    def decode_text(self, tokens: list[int], prompt: Sequence[int] | None = None) -> str:
        return decode_continuation(self._tokenizer, tokens, prompt)

    def truncate_text(self, text: str) -> tuple[str, bool]:
        """(text before the earliest stop string, True if there is one)."""
        return truncate_at_stop(text, self._stop)


def truncate_at_stop(text: str, stop: tuple[str, ...]) -> tuple[str, bool]:
    """(text before the earliest of the stop strings, True if there is one)."""
    positions = [position for position in (text.find(string) for string in stop) if position >= 0]
    return (text[: min(positions)], True) if positions else (text, False)


@lru_cache(maxsize=16)
def _find_candidate_tokens(tokenizer: Any, size: int, stop: tuple[str, ...]) -> np.ndarray:
    """Mask of tokens that could complete a stop string. Cached, since searches repeat the same strings."""
    last = {string[-1] for string in stop}
    known = rows.token_ids(tokenizer)  # ids may have gaps, so the largest may exceed the number of tokens
    texts = decode_vocabulary(tokenizer, max(known, default=-1) + 1)
    return np.array([any(c in text for c in last) or PARTIAL in text for text in texts])
