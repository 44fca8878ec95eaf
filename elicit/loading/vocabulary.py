"""Characters without a token: the tokenizer writes its unknown token in their place, or drops them.

find_missing_characters(tokenizer, ["Q:1+1", "Q:¿1+1?"]) # ["", "¿?"] for a tokenizer of digits and letters
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Number of texts that are encoded together.
_MANY = 1024


def find_missing_characters(tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """Characters of every text that no token stands for; each once, in the order of the text.

    The unknown token written by name in a text is allowed. White space and unprintable characters may be removed by
    normalisation and do not count.
    """
    missing: list[str] = []
    for start in range(0, len(texts), _MANY):
        batch = list(texts[start : start + _MANY])
        if tokenizer.is_fast:
            missing += _find_by_offsets(tokenizer, batch)
        else:
            missing += [_find_one_by_one(tokenizer, text) for text in batch]
    return missing


def _find_by_offsets(tokenizer: Any, texts: list[str]) -> list[str]:
    """Missing characters, from the characters that each token stands for."""
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    unknown, name = tokenizer.unk_token_id, str(tokenizer.unk_token)
    missing = []
    for text, ids, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        open_places = set(range(len(text)))
        for token, (start, end) in zip(ids, offsets, strict=True):
            if token != unknown or text[start:end] == name:
                open_places.difference_update(range(start, end))
        strange = dict.fromkeys(text[i] for i in sorted(open_places) if _is_visible(text[i]))
        if strange and unknown not in ids:  # offsets skip characters that normalisation rewrote: are they really gone?
            written = str(tokenizer.decode(ids))
            strange = dict.fromkeys(character for character in strange if character not in written)
        missing.append("".join(strange))
    return missing


def _find_one_by_one(tokenizer: Any, text: str) -> str:
    """Missing characters for tokenizers that do not report offsets."""
    unknown = tokenizer.unk_token_id
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if unknown is None or ids.count(unknown) <= text.count(str(tokenizer.unk_token)):
        return ""
    alone = {character: tokenizer(character, add_special_tokens=False)["input_ids"] for character in set(text)}
    strange = dict.fromkeys(character for character in text if _is_visible(character) and unknown in alone[character])
    return "".join(strange) or text


def _is_visible(character: str) -> bool:
    return character.isprintable() and not character.isspace()
