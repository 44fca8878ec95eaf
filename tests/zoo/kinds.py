"""The zoo: one tokenizer of every kind that decoder-only models have.

Small ones are trained here on a page of text, with the same parts as the real ones (splitting rules, normalisers,
decoders, processors); `mistral` has real files. Each says what it makes of a text (`read`), so that
decode(encode(text)) == read(text).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.zoo import byte_level, mistral, pieces

Read = Callable[[str], str]


@dataclass(frozen=True)
class Kind:
    """A tokenizer, and what is true of it."""

    build: Callable[[], Any]
    read: Read = str
    """What encoding makes of a text: its normal form."""
    bos: bool = False
    """Whether it puts BOS in front of a text."""
    more_rows: int = 0
    """Embedding rows of its models beyond its tokens."""
    ends: tuple[str, ...] = ()
    """End tokens beside its EOS."""
    byte_fallback: bool = False


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def spaced(text: str) -> str:
    """A space in front of a text that has none."""
    return text if not text or text[0] == " " else " " + text


def metaspace(text: str) -> str:
    """SentencePiece's sign for a space is a space."""
    return text.replace("▁", " ")


def one_less(text: str) -> str:
    """A space in front is taken for the dummy prefix: it is put there only where none stands."""
    return metaspace(text).removeprefix(" ")


def known(text: str) -> str:
    """Characters that are no tokens are lost."""
    return re.sub(r"[^\n -~]", "", text)


def named_bytes(text: str) -> str:
    """The name of a byte's token is read as that token: a Unigram model takes its pieces wherever it sees them."""
    return re.sub("<0x([0-9A-F]{2})>", lambda match: chr(int(match[1], 16)), metaspace(text))


def one_less_named(text: str) -> str:
    return named_bytes(one_less(text))


def nfkc(text: str) -> str:
    return one_less_named(unicodedata.normalize("NFKC", text))


ZOO: dict[str, Kind] = {
    # byte-level BPE
    "gpt2": Kind(byte_level.gpt2),  # its pad token is its end token
    "gpt2-prefix-space": Kind(byte_level.gpt2_prefix_space, spaced),
    "neox": Kind(byte_level.neox, more_rows=7),  # runs of spaces are added tokens
    "llama3": Kind(byte_level.llama3, bos=True, ends=("<|eot_id|>",)),
    "qwen2": Kind(byte_level.qwen2, nfc, more_rows=9, ends=("<|endoftext|>",)),
    "smollm": Kind(byte_level.smollm),
    "tekken-like": Kind(byte_level.tekken_like, bos=True),
    "deepseek": Kind(byte_level.deepseek, bos=True),
    "bos-by-template": Kind(byte_level.bos_by_template),
    "eos-appended": Kind(byte_level.eos_appended, bos=True),
    # SentencePiece
    "llama2-legacy": Kind(pieces.legacy, metaspace, bos=True, byte_fallback=True),
    "llama2-first": Kind(pieces.first, one_less, bos=True, byte_fallback=True),
    "llama2-always": Kind(pieces.always, one_less, bos=True, byte_fallback=True),
    "llama2-never": Kind(pieces.never, metaspace, bos=True, byte_fallback=True),
    "phi3": Kind(pieces.phi3, metaspace, bos=True, more_rows=5, ends=("<|end|>",), byte_fallback=True),
    "gemma": Kind(pieces.gemma, metaspace, bos=True, ends=("<end_of_turn>",), byte_fallback=True),
    "unigram-always": Kind(pieces.unigram, one_less_named, byte_fallback=True),
    "unigram-never": Kind(pieces.unigram_never, named_bytes, bos=True, byte_fallback=True),
    "unigram-nfkc": Kind(pieces.unigram_nfkc, nfkc, byte_fallback=True),
    # no text is lost, but nothing merges: an organism's
    "characters": Kind(pieces.characters, known, bos=True),
    # real files
    "mistral-v1-legacy": Kind(mistral.v1_legacy, metaspace, bos=True, byte_fallback=True),
    "mistral-v3-first": Kind(mistral.v3_first, one_less, bos=True, byte_fallback=True),
    "tekken": Kind(mistral.tekken, bos=True),
}


@functools.cache
def tokenizer_of(name: str) -> Any:
    """The tokenizer, built once."""
    return ZOO[name].build()
