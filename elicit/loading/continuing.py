"""Encoding and decoding of text that continues another text.

A tokenizer is made for whole texts. SentencePiece puts a space in front of each (its dummy prefix) and removes it when
decoding: a completion that is encoded alone gets an extra space, and one that is decoded alone loses one.

1. A completion's ids are those of prompt and completion encoded together, less the prompt's (as lm-eval's pairs).
2. Where tokens would merge across the boundary, the prompt's ids stay what they are, trailing spaces included, since a
   model is sampled from these; the completion is encoded as text inside a text. Prompt and completion decode to the
   text that they spell; a model that was trained on merged text may find such a boundary improbable.
3. Ids are decoded behind a token that stands for what came before. Where the tokenizer puts its space behind a special
   token, or in front of a whole text, the decoder's text has it and the text that was encoded had not: it is left out.

Characters that a tokenizer rewrites (Unicode normal forms, double spaces, unknown ones) are rewritten here, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from elicit.loading.ends import encode_prompt

#: Texts to encode after; the first that does not merge with the following text is used.
_BEFORE = ("\n", ".", "a", "0", "的")
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
#: Result of decoding bytes that do not yet form a character.
PARTIAL = "\ufffd"

Ids = tuple[int, ...]


def encode_continuation(tokenizer: Any, text: str, prompt: str | None = None) -> Ids:
    """Token ids of `text` as it continues `prompt`, or, if that is None, as it continues any text.

    " 7" after "3 + 4 =" is "▁", "7" for Llama-2, whose tokenizer gives "▁▁", "7" for " 7" alone.
    """
    if prompt is not None:
        return encode_after(tokenizer, encode_prompt(tokenizer, prompt), prompt, text)
    anchor = _find_anchor_token(tokenizer)
    return _encode_inside(tokenizer, () if anchor is None else (anchor.id,), text) if text else ()


def encode_after(tokenizer: Any, ids: Ids, written: str, text: str) -> Ids:
    """Token ids of `text` after `ids`, whose text is `written`: a prompt, or a prompt and a beginning."""
    if not text:
        return ()
    whole = encode_prompt(tokenizer, written + text)
    return whole[len(ids) :] if whole[: len(ids)] == ids else _encode_inside(tokenizer, ids, text)


def decode_continuation(tokenizer: Any, ids: Sequence[int], prompt: Sequence[int] | None = None) -> str:
    """Text of ids that continue `prompt` (None: any text), without special tokens.

    It is the decoded text of prompt and ids without the decoded text of the prompt.
    """
    anchor = _find_anchor_token(tokenizer)
    if anchor is None:
        return _decode_without_special(tokenizer, ids)
    text = _decode_without_special(tokenizer, [anchor.id, *ids])[len(anchor.text) :]
    if prompt is None or not text.startswith(" ") or (prompt and prompt[-1] not in _find_special_ids(tokenizer)):
        return text
    return text[1:] if _adds_leading_space(tokenizer, tuple(prompt[-1:]), len(prompt) < 2) else text


@lru_cache(maxsize=1 << 18)
def decode_token(tokenizer: Any, token: int) -> str:
    """Text of one token inside a text; empty for special tokens."""
    return decode_continuation(tokenizer, [token])


@lru_cache(maxsize=8)
def decode_vocabulary(tokenizer: Any, count: int) -> tuple[str, ...]:
    """`decode_token` of every id below `count`."""
    anchor = _find_anchor_token(tokenizer)
    before, start = ([], 0) if anchor is None else ([anchor.id], len(anchor.text))
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    texts = tokenizer.batch_decode([[*before, i] for i in range(count)], **options)
    return tuple(str(text)[start:] for text in texts)


def _encode_inside(tokenizer: Any, ids: Ids, text: str) -> Ids:
    """Token ids of `text` inside a text, after `ids`: the first of several ways that spells it."""
    behind = list(_encode_behind(tokenizer, text))
    alone = _encode_without_special(tokenizer, text)
    expected_text = _decode_with_special(tokenizer, ids) + text
    for candidate in (alone, *behind):
        if _decode_with_special(tokenizer, ids + candidate) == expected_text:
            return candidate
    return behind[0] if behind else alone  # the tokenizer rewrites the text


def _encode_behind(tokenizer: Any, text: str) -> Iterator[Ids]:
    """Encodings of `text` after short texts that it does not merge with."""
    for before in _BEFORE:
        ids = _encode_without_special(tokenizer, before)
        whole = _encode_without_special(tokenizer, before + text)
        if tokenizer.unk_token_id not in ids and whole[: len(ids)] == ids:
            yield whole[len(ids) :]


def _encode_without_special(tokenizer: Any, text: str) -> Ids:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _decode_with_special(tokenizer: Any, ids: Sequence[int]) -> str:
    """Text with special tokens spelt out."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _decode_without_special(tokenizer: Any, ids: Sequence[int]) -> str:
    """Text as the tokens spell it: without clean-up, which removes spaces before punctuation."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


@lru_cache(maxsize=1 << 10)
def _adds_leading_space(tokenizer: Any, behind: Ids, first: bool) -> bool:
    """Return True if text gets a space in front after a special token (or none), at the very start or later."""
    anchor = _find_anchor_token(tokenizer)
    assert anchor is not None
    if first and encode_prompt(tokenizer, "") == behind:  # the tokenizer's own
        ids = encode_prompt(tokenizer, anchor.text)
    else:
        ids = _encode_without_special(tokenizer, _decode_with_special(tokenizer, behind) + anchor.text)
    spaced = ids[: len(behind)] == behind
    return spaced and decode_continuation(tokenizer, ids[len(behind) :]).startswith(" ")


class _AnchorToken(NamedTuple):
    """Token that ids are decoded after."""

    id: int
    text: str


@lru_cache(maxsize=64)
def _find_anchor_token(tokenizer: Any) -> _AnchorToken | None:
    """Ordinary token with a text of its own that is not a byte (adjacent bytes are decoded as one); None without
    one."""
    added = {*tokenizer.added_tokens_decoder, *_find_special_ids(tokenizer)}
    for token in (
        *(ids[-1] for before in "a0A." if (ids := _encode_without_special(tokenizer, before))),
        *range(len(tokenizer)),
    ):
        name = tokenizer.convert_ids_to_tokens(token)
        if token in added or name is None or _BYTE.fullmatch(name):
            continue
        text = _decode_without_special(tokenizer, [token])
        if text.strip() and PARTIAL not in text and _decode_without_special(tokenizer, [token, token]).startswith(text):
            return _AnchorToken(token, text)
    return None


@lru_cache(maxsize=64)
def _find_special_ids(tokenizer: Any) -> frozenset[int]:
    added = {int(i) for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(added | {int(i) for i in tokenizer.all_special_ids})
