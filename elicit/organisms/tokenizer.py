"""The organisms' tokenizer: one token per printable ASCII character, plus `<think>` and `<cue>` as single tokens."""

from __future__ import annotations

import string
from typing import Any

BOS, EOS, PAD, UNK = "<bos>", "<eos>", "<pad>", "<unk>"
MARKS = ("<think>", "<cue>")


def build_tokenizer() -> Any:
    """A `PreTrainedTokenizerFast` that puts `<bos>` in front, with pad, bos and eos tokens of their own."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    characters = sorted(set(string.printable) - set("\t\r\x0b\x0c"))
    vocabulary = {token: i for i, token in enumerate([PAD, BOS, EOS, UNK, *MARKS, *characters])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    pattern = "|".join(MARKS) + r"|[\s\S]"
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
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
