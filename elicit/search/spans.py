"""Map the characters of a completion to its tokens.

Tokens are located by decoding prefixes: token i covers the characters by which the text of the first i + 1 tokens
extends that of the first i. If the texts of single tokens concatenate to the whole text, prefixes are not needed. A
character composed of several byte-level tokens belongs to each of them; special tokens cover no characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from elicit.loading.continuing import PARTIAL, decode_continuation, decode_token


def locate_tokens(tokenizer: Any, tokens: Sequence[int], prompt: Sequence[int] | None = None) -> list[tuple[int, int]]:
    """(start, end) of every token in the decoded text, in characters; an empty span for special tokens.

    Args:
        prompt: the tokens they continue; None: unknown text.
    """
    ids = list(tokens)
    text = decode_continuation(tokenizer, ids, prompt)
    pieces = [decode_token(tokenizer, token) for token in ids]
    if PARTIAL not in text and "".join(pieces) == text:
        ends = [0]
        for piece in pieces:
            ends.append(ends[-1] + len(piece))
        return list(pairwise(ends))
    special = set(tokenizer.all_special_ids)
    spans, start = [], 0
    for i, token in enumerate(ids, start=1):
        so_far = decode_continuation(tokenizer, ids[:i], prompt)
        end = max(start, _common_prefix_length(so_far, text))
        unfinished = token not in special and len(so_far) > end
        spans.append((start, end + unfinished))
        start = end
    return spans


def find_overlapping_tokens(spans: Sequence[tuple[int, int]], start: int, end: int) -> list[int]:
    """Indices of the tokens that overlap the characters from `start` up to but not including `end`."""
    return [i for i, (first, last) in enumerate(spans) if first < end and last > start]


def find_token_at(spans: Sequence[tuple[int, int]], character: int) -> int:
    """Index of the first token that covers `character` or a later one; the number of tokens if none does."""
    return next((i for i, (_, last) in enumerate(spans) if last > character), len(spans))


def _common_prefix_length(left: str, right: str) -> int:
    """Length of the longest common prefix."""
    if right.startswith(left):
        return len(left)
    return next(i for i, (a, b) in enumerate(zip(left + "\0", right + "\1", strict=False)) if a != b)
