"""The organisms' tokenizers.

Characters: one token per printable ASCII character, plus `<think>` and `<cue>` as single tokens. Words: one token per
word, number and sign of a corpus, with the space before it, and single characters for the rest, so that every ASCII
text can be encoded and decodes to itself.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import Any

BOS, EOS, PAD, UNK = "<bos>", "<eos>", "<pad>", "<unk>"
MARKS = ("<think>", "<cue>")
_CHARACTERS = sorted(set(string.printable) - set("\t\r\x0b\x0c"))
#: Words and numbers with the space before them, every other character alone.
_WORDS = r" ?[A-Za-z]+| ?[0-9]+| ?[+\-*/=]|[\s\S]"


def build_character_tokenizer() -> Any:
    """A `PreTrainedTokenizerFast` that puts `<bos>` in front, with pad, bos and eos tokens of their own."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    vocabulary = {token: i for i, token in enumerate([PAD, BOS, EOS, UNK, *MARKS, *_CHARACTERS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("|".join(MARKS) + r"|[\s\S]"), behavior="isolated")
    return _wrap_tokenizer(inner, vocabulary)


def build_word_tokenizer(texts: Iterable[str]) -> Any:
    """The same with one token for every word, number and sign of these texts; other words fall into the longest parts.

    The vocabulary is sorted, so that it depends on the set of words alone.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    split = pre_tokenizers.Split(Regex(_WORDS), behavior="isolated")
    words = {word for text in texts for word, _ in split.pre_tokenize_str(text)}
    tokens = [PAD, BOS, EOS, UNK, *_CHARACTERS, *sorted(words - set(_CHARACTERS))]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token=UNK, continuing_subword_prefix=""))
    inner.pre_tokenizer = split
    return _wrap_tokenizer(inner, vocabulary)


def _wrap_tokenizer(inner: Any, vocabulary: dict[str, int]) -> Any:
    from tokenizers import decoders, processors
    from transformers import PreTrainedTokenizerFast

    inner.decoder = decoders.Fuse()
    inner.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, vocabulary[BOS])])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNK,
        clean_up_tokenization_spaces=False,
    )
