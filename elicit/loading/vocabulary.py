"""Characters that a tokenizer has no token for: it writes its unknown token in their place, or leaves them out.

lacking(tokenizer, ["Q:1+1", "Q:¿1+1?"])     # ["", "¿?"] for a tokenizer of digits and letters
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Texts that are encoded together.
_MANY = 1024


def lacking(tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """For every text, those of its characters that no token stands for; each once, in the order of the text.

    A text that holds the unknown token by name says what it wants. White space and what cannot be printed may be left
    out by normalisation and do not count.
    """
    found: list[str] = []
    for start in range(0, len(texts), _MANY):
        some = list(texts[start : start + _MANY])
        if tokenizer.is_fast:
            found += _by_places(tokenizer, some)
        else:
            found += [_one_by_one(tokenizer, text) for text in some]
    return found


def _by_places(tokenizer: Any, texts: list[str]) -> list[str]:
    """From the characters that each token stands for."""
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    unknown, name = tokenizer.unk_token_id, str(tokenizer.unk_token)
    found = []
    for text, ids, places in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        open_places = set(range(len(text)))
        for token, (start, end) in zip(ids, places, strict=True):
            if token != unknown or text[start:end] == name:
                open_places.difference_update(range(start, end))
        strange = dict.fromkeys(text[i] for i in sorted(open_places) if _counts(text[i]))
        if strange and unknown not in ids:  # offsets pass over what normalisation wrote otherwise: is it really gone?
            written = str(tokenizer.decode(ids))
            strange = dict.fromkeys(character for character in strange if character not in written)
        found.append("".join(strange))
    return found


def _one_by_one(tokenizer: Any, text: str) -> str:
    """For tokenizers that do not say which characters a token stands for."""
    unknown = tokenizer.unk_token_id
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if unknown is None or ids.count(unknown) <= text.count(str(tokenizer.unk_token)):
        return ""
    alone = {character: tokenizer(character, add_special_tokens=False)["input_ids"] for character in set(text)}
    strange = dict.fromkeys(character for character in text if _counts(character) and unknown in alone[character])
    return "".join(strange) or text


def _counts(character: str) -> bool:
    return character.isprintable() and not character.isspace()
