"""SentencePiece tokenizers as `tokenizers` has them, BPE and Unigram, and one of single characters."""

from __future__ import annotations

import functools
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tests.zoo.byte_level import CORPUS, word_pieces

SPECIAL = ("<unk>", "<s>", "</s>")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def _bpe(specials: tuple[str, ...] = SPECIAL, newlines: bool = False) -> Tokenizer:
    """BPE with byte fallback over whole texts: nothing keeps its merges inside words but their vocabulary."""
    pieces, merges = word_pieces(True)
    more = ["\n", "\n\n", "\n\n\n"] if newlines else []
    spaces = ["▁▁", "▁▁▁▁"]
    vocab = {token: i for i, token in enumerate(dict.fromkeys([*specials, *BYTES, *spaces, *more, *pieces]))}
    joined = [("▁", "▁"), ("▁▁", "▁▁"), *([("\n", "\n"), ("\n\n", "\n")] if newlines else [])]
    model = models.BPE(vocab=vocab, merges=[*joined, *merges], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    inner = Tokenizer(model)
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return inner


def _decoder(strip: bool) -> Any:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, *([decoders.Strip(" ", 1, 0)] if strip else [])])


def _bos(inner: Tokenizer, bos: str = "<s>") -> Tokenizer:
    inner.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, inner.token_to_id(bos))]
    )
    return inner


def wrapped(inner: Tokenizer, bos: str = "<s>", eos: str = "</s>", **more: Any) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, clean_up_tokenization_spaces=False, bos_token=bos, eos_token=eos, **more
    )


def prepending(inner: Tokenizer) -> Tokenizer:
    """Llama-2's older files: a normaliser puts the space."""
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = _decoder(strip=True)
    return inner


def metaspaced(inner: Tokenizer, scheme: str) -> Tokenizer:
    """The newer ones: a pre-tokenizer puts it, as its scheme says."""
    inner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    inner.decoder = _decoder(strip=scheme != "never")
    return inner


def legacy() -> Any:
    return wrapped(_bos(prepending(_bpe())), unk_token="<unk>")


def first() -> Any:
    return wrapped(_bos(metaspaced(_bpe(), "first")), unk_token="<unk>")


def always() -> Any:
    return wrapped(_bos(metaspaced(_bpe(), "always")), unk_token="<unk>")


def never() -> Any:
    return wrapped(_bos(metaspaced(_bpe(), "never")), unk_token="<unk>", pad_token="</s>")


def phi3() -> Any:
    """Added tokens that take the space behind them."""
    names = ("<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>", "<|placeholder1|>")
    inner = _bos(prepending(_bpe()))
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False, rstrip=True) for name in names])
    tokenizer = wrapped(inner, eos="<|endoftext|>", unk_token="<unk>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    )
    return tokenizer


def gemma() -> Any:
    names = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
    inner = _bos(_bpe(names, newlines=True), "<bos>")
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    inner.decoder = _decoder(strip=False)
    return wrapped(inner, "<bos>", "<eos>", unk_token="<unk>", pad_token="<pad>")


@functools.cache
def _unigram_pieces() -> list[tuple[str, float]]:
    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    texts = [line for text in CORPUS for line in text.split("\n") if line]
    options: dict[str, Any] = {"special_tokens": ["<unk>"], "unk_token": "<unk>", "show_progress": False}
    inner.train_from_iterator(texts, trainers.UnigramTrainer(vocab_size=220, **options))
    pieces = sorted(inner.get_vocab(), key=inner.token_to_id)
    return [(piece, -5.0 - 0.05 * i) for i, piece in enumerate(pieces) if piece != "<unk>"]


def _unigram(scheme: str, *, split: bool) -> Tokenizer:
    vocab = [*((token, 0.0) for token in SPECIAL), *((token, 0.0) for token in BYTES), *_unigram_pieces()]
    inner = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=split)
    inner.decoder = _decoder(strip=scheme != "never")
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return inner


def unigram() -> Any:
    return wrapped(_unigram("always", split=True), unk_token="<unk>")


def unigram_never() -> Any:
    return wrapped(_bos(_unigram("never", split=True)), unk_token="<unk>")


def unigram_nfkc() -> Any:
    inner = _unigram("first", split=False)
    inner.normalizer = normalizers.NFKC()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, clean_up_tokenization_spaces=True, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def characters() -> Any:
    from elicit.organisms.tokenizer import build_character_tokenizer

    return build_character_tokenizer()
