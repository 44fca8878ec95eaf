"""Tokens as people read them: the piece of text each one brings, and which of them differ between two texts."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from elicit.loading.continuing import PARTIAL, decode_continuation, decode_token


class TokenPiece(NamedTuple):
    """The part of the text that one token adds."""

    text: str
    """Its part of the text; empty for a token that only begins a character, which the last of its tokens brings."""
    special: bool
    """A special token (an end mark): `text` is its name, which is not part of the completion."""


def split_into_pieces(tokenizer: Any, ids: Sequence[int], prompt: Sequence[int] | None = None) -> list[TokenPiece]:
    """The pieces of a completion. Those of its ordinary tokens, joined, are the decoded text.

    A token cannot be decoded alone: characters may be spread over several, and spaces depend on what stands before.

    Args:
        prompt: what the completion continues; None: some text.
    """
    special = set(tokenizer.all_special_ids)
    result: list[TokenPiece] = []
    ordinary: list[int] = []
    before = ""
    for index, token in enumerate(ids):
        if token in special:
            result.append(TokenPiece(str(tokenizer.convert_ids_to_tokens(int(token))), True))
            continue
        ordinary.append(token)
        after = decode_continuation(tokenizer, ordinary, prompt)
        if after.endswith(PARTIAL) and not all(later in special for later in ids[index + 1 :]):
            result.append(TokenPiece("", False))
            continue
        shared = after.startswith(before)
        result.append(TokenPiece(after[len(before) :] if shared else decode_token(tokenizer, token), False))
        before = after
    return result


def mark_differences(left: Sequence[int], right: Sequence[int]) -> tuple[list[bool], list[bool]]:
    """Mark the tokens of each side without a partner in the other (longest matching blocks, Ratcliff and Obershelp)."""
    marks = [True] * len(left), [True] * len(right)
    for block in SequenceMatcher(None, list(left), list(right), autojunk=False).get_matching_blocks():
        marks[0][block.a : block.a + block.size] = [False] * block.size
        marks[1][block.b : block.b + block.size] = [False] * block.size
    return marks
