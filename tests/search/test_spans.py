"""Which tokens hold which characters, against the bytes of the tokens themselves."""

from __future__ import annotations

import functools

from hypothesis import given, settings
from hypothesis import strategies as st

from elicit.search.spans import find_overlapping_tokens, find_token_at, locate_tokens
from tests.support.tiny import char_tokenizer

TEXT = "the answer is 42. é è 漢字 😀 #12,345\n"


@functools.cache
def byte_level():
    """A small byte-level BPE: common words are one token, rare characters several."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, special_tokens=["<eos>"])
    inner.train_from_iterator(["the answer is 42. the answer is 12,345"] * 5, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", clean_up_tokenization_spaces=False)


def by_bytes(tokenizer, ids, start, end):
    """The same by counting bytes: in a byte-level vocabulary every character of a token's name is one byte."""
    text = tokenizer.decode(ids, skip_special_tokens=True)
    first, last = len(text[:start].encode()), len(text[:end].encode())
    found, at = [], 0
    for i, token in enumerate(ids):
        size = 0 if token in tokenizer.all_special_ids else len(tokenizer.convert_ids_to_tokens(token))
        if at < last and at + size > first:
            found.append(i)
        at += size
    return found


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="the answr42é漢😀 #,\n", min_size=1, max_size=20), st.data())
def test_byte_level_tokens_belong_to_the_characters_their_bytes_make(text, data):
    tokenizer = byte_level()
    ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    assert find_overlapping_tokens(locate_tokens(tokenizer, ids), start, end) == by_bytes(tokenizer, ids, start, end)


def test_a_character_of_several_tokens_is_held_by_all_of_them():
    tokenizer = byte_level()
    ids = tokenizer("1漢2")["input_ids"]
    assert len(ids) == 5, "the test needs a character that is split"
    assert locate_tokens(tokenizer, ids) == [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)]
    assert find_overlapping_tokens(locate_tokens(tokenizer, ids), 1, 2) == [1, 2, 3]
    assert find_token_at(locate_tokens(tokenizer, ids), 1) == 1
    assert find_token_at(locate_tokens(tokenizer, ids), 2) == 4


def test_a_cut_character_still_has_its_tokens():
    """A completion that ends in the middle of a character decodes to a replacement mark, which its bytes hold."""
    tokenizer = byte_level()
    ids = tokenizer("1漢")["input_ids"][:-1]
    assert locate_tokens(tokenizer, ids)[0] == (0, 1)
    assert find_overlapping_tokens(locate_tokens(tokenizer, ids), 0, 1) == [0]


def test_special_tokens_hold_nothing():
    tokenizer = char_tokenizer()
    ids = [*tokenizer("ab", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    assert locate_tokens(tokenizer, ids) == [(0, 1), (1, 2), (2, 2)]
    assert find_overlapping_tokens(locate_tokens(tokenizer, ids), 1, 2) == [1]
    assert find_token_at(locate_tokens(tokenizer, ids), 2) == 3
