"""The pad token: never EOS or BOS, whatever the tokenizer came with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from elicit.loading import load_transformers, own_pad, tokenizer_hash, weights_hash
from tests.support.tiny import ARCHITECTURES, tiny


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
    assert own_pad(tokenizer, hf) == 0
    assert (weights_hash(hf), tokenizer_hash(tokenizer)) == before
    assert hf.config.pad_token_id == hf.generation_config.pad_token_id == 0


def test_a_reserved_token_is_preferred_to_the_unknown_token() -> None:
    extra = ("x1", "<unused7>", "<|reserved_special_token_3|>")
    hf, tokenizer = without_pad("llama", unk=True, extra=extra)
    assert tokenizer.convert_ids_to_tokens(own_pad(tokenizer, hf)) == "<unused7>"
    hf, tokenizer = without_pad("llama", unk=True, extra=(*extra, "[PAD]"))
    assert tokenizer.convert_ids_to_tokens(own_pad(tokenizer, hf)) == "[PAD]"
    hf, tokenizer = without_pad("llama", unk=True)
    assert own_pad(tokenizer, hf) == tokenizer.unk_token_id == 3


def test_a_second_end_token_is_no_pad_token() -> None:
    hf, tokenizer = tiny("llama")
    hf.generation_config.eos_token_id = [2, 0]
    assert own_pad(tokenizer, hf) == 3


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_new_pad_token_takes_a_spare_row_or_a_row_of_zeros(name: str, tmp_path: Path) -> None:
    hf, tokenizer = without_pad(name, spare=2)
    before = weights_hash(hf)
    assert own_pad(tokenizer, hf) == len(tokenizer) - 1
    assert weights_hash(hf) == before

    hf, tokenizer = without_pad(name)
    rows = len(tokenizer)
    ids = torch.arange(4, 24)[None]
    with torch.no_grad():
        old = hf(ids).logits
        assert own_pad(tokenizer, hf) == rows
        new = hf(ids).logits
    assert hf.get_input_embeddings().weight.shape[0] == hf.config.vocab_size == rows + 1
    torch.testing.assert_close(new[..., :rows], old, rtol=0, atol=1e-6)
    assert not new[..., rows].any()
    assert not hf.get_input_embeddings().weight[rows].any()
    assert tokenizer.pad_token == "<|pad|>"
    assert tokenizer.eos_token_id == 2 != tokenizer.pad_token_id

    # Twice changes nothing, and neither does a round trip through files.
    hashes = weights_hash(hf), tokenizer_hash(tokenizer)
    assert own_pad(tokenizer, hf) == rows
    hf.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_transformers(tmp_path)
    assert (loaded.weights_sha256, loaded.tokenizer_sha256) == hashes == (weights_hash(hf), tokenizer_hash(tokenizer))
    assert loaded.tokenizer.pad_token_id == loaded.hf.config.pad_token_id == rows
