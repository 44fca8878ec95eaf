"""One row of a forward pass as position terms see it: token ids so far, and the texts of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

#: Stands for tokens without a text (special ones): no string goes across it.
BARRIER = "\0"


class Vocabulary:
    """Texts of a tokenizer's tokens inside a text, and the tokens of a text."""

    def __init__(self, texts: Sequence[str], encode: Callable[[str], tuple[int, ...]]) -> None:
        """Args:
        texts: text of every token id; empty for special tokens.
        encode: ids of a text as it continues any text.
        """
        self._texts = texts
        self._encode = encode
        self._sequences: dict[str, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def text(self, token: int) -> str:
        """Text of a token, at least one character; `BARRIER` for a token without one."""
        return (self._texts[token] if 0 <= token < len(self._texts) else "") or BARRIER

    def join(self, ids: Sequence[int]) -> str:
        return "".join(self.text(token) for token in ids)

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of `text` as it continues any text."""
        if text not in self._sequences:
            self._sequences[text] = tuple(self._encode(text))
        return self._sequences[text]

    def list_tokens_with(self, text: str, most: int = 5) -> list[str]:
        """Tokens that a misspelt `text` may stand for: those that contain it or are close to it."""
        import difflib

        near = [token for token in self._texts if text.strip() and text.strip() in token]
        near += difflib.get_close_matches(text, [token for token in self._texts if token.strip()], most, 0.5)
        return list(dict.fromkeys(near))[:most]


class Row(NamedTuple):
    """A row whose weights are asked for at the positions from `start` to its last token."""

    ids: Sequence[int]
    """Every token so far, from the first real one."""
    prompt_length: int
    start: int = 0
    vocabulary: Vocabulary | None = None

    @property
    def positions(self) -> Int[np.ndarray, " pos"]:
        return np.arange(self.start, len(self.ids))

    @property
    def offsets(self) -> Int[np.ndarray, " pos"]:
        """Distance of every position from the last prompt token."""
        return self.positions - (self.prompt_length - 1)
