"""Pieces of text add up to the text; marks say truly what differs."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elicit.panel.tokens import mark_differences, split_into_pieces
from tests.support.tiny import EOS, char_tokenizer

#: A busy machine is slow, not wrong.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def byte_tokenizer() -> Any:
    """One token per byte, as GPT-2 spells them: a character is up to four tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(["<eos>", *alphabet])}
    inner = Tokenizer(models.BPE(vocab, [], unk_token=None))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>")


@UNHURRIED
@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 3), st.booleans())
def test_pieces_add_up_to_the_text(text: str, cut: int, ends: bool) -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = ids[: len(ids) - cut] + [tokenizer.eos_token_id] * ends
    found = split_into_pieces(tokenizer, ids)
    assert len(found) == len(ids)
    ordinary = [piece.text for piece in found if not piece.special]
    assert "".join(ordinary) == tokenizer.decode(ids, skip_special_tokens=True)
    if cut == 0:  # every character is brought by the last of its bytes
        lengths = [len(c.encode()) for c in text]
        expected = [piece for c, n in zip(text, lengths, strict=True) for piece in [""] * (n - 1) + [c]]
        assert ordinary == expected


def test_special_tokens_have_names() -> None:
    tokenizer = char_tokenizer()
    ids = [*tokenizer("ab", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    assert split_into_pieces(tokenizer, ids) == [("a", False), ("b", False), (EOS, True)]


@UNHURRIED
@given(st.lists(st.integers(0, 4), max_size=12), st.lists(st.integers(0, 4), max_size=12))
def test_unmarked_tokens_are_a_common_subsequence(left: list[int], right: list[int]) -> None:
    left_marks, right_marks = mark_differences(left, right)
    kept = [token for token, mark in zip(left, left_marks, strict=True) if not mark]
    assert kept == [token for token, mark in zip(right, right_marks, strict=True) if not mark]
    assert bool(set(left) & set(right)) == bool(kept)
    if left == right:
        assert not any(left_marks)
