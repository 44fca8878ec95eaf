"""The pad token: one made for padding if the tokenizer has it, never an invented one."""

from __future__ import annotations

from typing import Any

import pytest

from elicit.loading import set_pad_token, tokenizer_hash, tokens, weights_hash
from tests.support.tiny import tiny


def without_pad(name: str, *, spare: int = 0, unk: bool = False, extra: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """A model whose tokenizer pads with EOS, as most base models do, in a model with `spare` unused rows."""
    hf, tokenizer = tiny(name)
    tokenizer.add_tokens(list(extra))
    hf.resize_token_embeddings(len(tokenizer) + spare, mean_resizing=False)
    tokenizer.pad_token = tokenizer.eos_token
    # "<pad>" stays in the vocabulary as an id; make it the beginning of text so that it cannot be reused.
    tokenizer.bos_token = "<pad>"
    if not unk:
        tokenizer.unk_token = None
    return hf, tokenizer


def test_a_pad_token_of_its_own_is_kept() -> None:
    hf, tokenizer = tiny("llama")
    before = weights_hash(hf), tokenizer_hash(tokenizer)
    assert set_pad_token(tokenizer, hf) == 0
    assert (weights_hash(hf), tokenizer_hash(tokenizer)) == before
    assert hf.config.pad_token_id == hf.generation_config.pad_token_id == 0


def test_a_reserved_token_is_preferred_to_the_unknown_token() -> None:
    extra = ("x1", "<unused7>", "<|reserved_special_token_3|>")
    hf, tokenizer = without_pad("llama", unk=True, extra=extra)
    assert tokenizer.convert_ids_to_tokens(set_pad_token(tokenizer, hf)) == "<unused7>"
    hf, tokenizer = without_pad("llama", unk=True, extra=(*extra, "[PAD]"))
    assert tokenizer.convert_ids_to_tokens(set_pad_token(tokenizer, hf)) == "[PAD]"
    hf, tokenizer = without_pad("llama", unk=True)
    assert set_pad_token(tokenizer, hf) == tokenizer.unk_token_id == 3


def test_a_second_end_token_is_no_pad_token() -> None:
    hf, tokenizer = tiny("llama")
    hf.generation_config.eos_token_id = [2, 0]
    assert set_pad_token(tokenizer, hf) == 3


@pytest.mark.parametrize("pad", [None, "<eos>"])
def test_where_no_token_can_pad_none_is_invented(pad: str | None) -> None:
    hf, tokenizer = without_pad("llama")
    tokenizer.pad_token = pad
    before = weights_hash(hf), tokenizer_hash(tokenizer)
    assert set_pad_token(tokenizer, hf) is None
    assert (weights_hash(hf), tokenizer_hash(tokenizer)) == before
    assert tokenizer.pad_token == pad
    assert tokens.choose_padding_id(tokenizer, hf) == tokenizer.eos_token_id == 2
    assert tokens.find_banned_pad(tokenizer, hf) is None, "the end token can be drawn"
    assert tokens.ensure_pad_token(tokenizer, hf).pad_token == "<eos>"
    assert tokenizer.pad_token == pad, "TRL gets a copy"


def test_a_pad_token_without_a_row_does_not_pad() -> None:
    hf, tokenizer = without_pad("llama")
    tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    assert set_pad_token(tokenizer, hf) is None
    assert tokenizer.pad_token is None
    assert tokens.choose_padding_id(tokenizer, hf) == 2
