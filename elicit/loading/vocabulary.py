"""Characters that a tokenizer has no token for: it writes its unknown token in their place, or leaves them out.

lacking(tokenizer, ["Q:1+1", "Q:¿1+1?"])     # ["", "¿?"] for a tokenizer of digits and letters
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Texts that are encoded together.
_MANY = 1024


def find_missing_characters(tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """For every text, those of its characters that no token stands for; each once, in the order of the text.

    A text that holds the unknown token by name says what it wants. White space and what cannot be printed may be left
    out by normalisation and do not count.
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
    """From the characters that each token stands for."""
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    unknown, name = tokenizer.unk_token_id, str(tokenizer.unk_token)
    missing = []
    for text, ids, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        open_places = set(range(len(text)))
        for token, (start, end) in zip(ids, offsets, strict=True):
            if token != unknown or text[start:end] == name:
                open_places.difference_update(range(start, end))
        strange = dict.fromkeys(text[i] for i in sorted(open_places) if _is_visible(text[i]))
        if strange and unknown not in ids:  # offsets pass over what normalisation wrote otherwise: is it really gone?
            written = str(tokenizer.decode(ids))
            strange = dict.fromkeys(character for character in strange if character not in written)
        missing.append("".join(strange))
    return missing


def _find_one_by_one(tokenizer: Any, text: str) -> str:
    """For tokenizers that do not say which characters a token stands for."""
    unknown = tokenizer.unk_token_id
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if unknown is None or ids.count(unknown) <= text.count(str(tokenizer.unk_token)):
        return ""
    alone = {character: tokenizer(character, add_special_tokens=False)["input_ids"] for character in set(text)}
    strange = dict.fromkeys(character for character in text if _is_visible(character) and unknown in alone[character])
    return "".join(strange) or text


def _is_visible(character: str) -> bool:
    return character.isprintable() and not character.isspace()
