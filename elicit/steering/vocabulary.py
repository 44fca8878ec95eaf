"""The texts of a tokenizer's tokens, for position forms that read them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from elicit.loading.continuing import decode_vocabulary, encode_continuation
from elicit.loading.rows import token_ids
from elicit.positions import Vocabulary


@lru_cache(maxsize=8)
def build_vocabulary(tokenizer: Any) -> Vocabulary:
    """The vocabulary of a tokenizer: every token decoded as inside a text."""
    texts = decode_vocabulary(tokenizer, max(token_ids(tokenizer), default=-1) + 1)
    return Vocabulary(texts, lambda text: encode_continuation(tokenizer, text))
