"""Which tokens hold which characters of a completion.

Tokens are placed by decoding prefixes: token i holds what the text of the first i + 1 tokens has beyond the text of the
first i. Where the pieces of single tokens add up to the text, that is the same and needs no prefixes. A character that
several byte-level tokens make together belongs to each of them; special tokens hold no characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from elicit.loading.continuing import PARTIAL, decode_continuation, decode_token


def locate_tokens(tokenizer: Any, tokens: Sequence[int], prompt: Sequence[int] | None = None) -> list[tuple[int, int]]:
    """(start, end) of every token in the decoded text, in characters; an empty place for special tokens.

    Args:
        prompt: what the tokens continue; None: some text.
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
    """Indices of the tokens that hold any of the characters from `start` to before `end`."""
    return [i for i, (first, last) in enumerate(spans) if first < end and last > start]


def find_token_at(spans: Sequence[tuple[int, int]], character: int) -> int:
    """The first token that holds `character` or any after it; their number if none does."""
    return next((i for i, (_, last) in enumerate(spans) if last > character), len(spans))


def _common_prefix_length(left: str, right: str) -> int:
    """Length of the longest common beginning."""
    if right.startswith(left):
        return len(left)
    return next(i for i, (a, b) in enumerate(zip(left + "\0", right + "\1", strict=False)) if a != b)
