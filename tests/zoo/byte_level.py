"""Byte-level BPE tokenizers: GPT-2's, Llama 3's, Qwen's, Pythia's, ... with small vocabularies."""

from __future__ import annotations

import functools
import json
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "Question: What is 3 + 4?\nAnswer: 7\n\nQuestion: What is 12 + 30?\nAnswer: 42\n\n",
    "The answer is 20. Wait, that is wrong: it's 18, they're sure. The other answers aren't.\n\n\nSo the answer is 18.",
    "    def add(a, b):\n        return a + b\n\n    print(add(123, 456))  # 579\n\t\ttab",
    "中文的答案是七。你好，世界。 Größe café naïve 🙂🙂 the theory of the thing, there and then",
] * 3

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def split(rule: str) -> Any:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(rule), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _train(split: Any, specials: list[str], *, specials_first: bool = False) -> Tokenizer:
    """A BPE of about 450 tokens; `specials` behind them, or in front."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = split
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    options: dict[str, Any] = {"initial_alphabet": alphabet, "show_progress": False}
    inner.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=450, special_tokens=specials if specials_first else [], **options)
    )
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return inner


def _bos(inner: Tokenizer, bos: str, behind: str = "") -> Any:
    tokens = [(token, inner.token_to_id(token)) for token in (bos, behind) if token]
    return processors.TemplateProcessing(single=" ".join([bos, "$A", behind]).strip(), special_tokens=tokens)


def _wrapped(inner: Tokenizer, **specials: str) -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=inner, clean_up_tokenization_spaces=False, **specials)


def gpt2() -> Any:
    inner = _train(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>"])
    end = "<|endoftext|>"
    return _wrapped(inner, bos_token=end, eos_token=end, unk_token=end, pad_token=end)


def gpt2_prefix_space() -> Any:
    inner = _train(pre_tokenizers.ByteLevel(add_prefix_space=True), ["<|endoftext|>"])
    return _wrapped(inner, bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def neox() -> Any:
    inner = _train(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>", "<|padding|>"])
    inner.add_tokens([AddedToken(" " * n, normalized=True, special=False) for n in range(8, 1, -1)])
    return _wrapped(inner, bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>")


def llama3() -> Any:
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    inner = _train(split(LLAMA3), [*names, "<|reserved_special_token_0|>"])
    inner.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), _bos(inner, names[0])])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, clean_up_tokenization_spaces=True, bos_token=names[0], eos_token=names[1]
    )


def qwen2() -> Any:
    inner = _train(split(QWEN2), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    inner.normalizer = normalizers.NFC()
    tokenizer = _wrapped(inner, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    tokenizer.chat_template = CHATML
    return tokenizer


def smollm() -> Any:
    digits = pre_tokenizers.Digits(individual_digits=True)
    split = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    inner = _train(split, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], specials_first=True)
    tokenizer = _wrapped(inner, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.chat_template = CHATML
    return tokenizer


def tekken_like() -> Any:
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", *(f"<SPECIAL_{i}>" for i in range(5, 9))]
    inner = _train(split(TEKKEN), names, specials_first=True)
    inner.post_processor = _bos(inner, "<s>")
    tokenizer = _wrapped(inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}[INST]{{ m['content'] }}[/INST]{% endfor %}"
    return tokenizer


def deepseek() -> Any:
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[\r\n]"), behavior="isolated"),
            pre_tokenizers.Split(Regex(r"\s?\p{L}+"), behavior="isolated"),
            pre_tokenizers.Split(Regex(r"\s?\p{P}+"), behavior="isolated"),
            pre_tokenizers.Split(Regex("[一-龥ࠀ-一가-퟿]+"), behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    names = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
    inner = _train(split, names)
    inner.post_processor = _bos(inner, names[0])
    return _wrapped(inner, bos_token=names[0], eos_token=names[1], pad_token=names[2])


def bos_by_template() -> Any:
    inner = _train(split(LLAMA3), ["<bos>", "<eos>"])
    tokenizer = _wrapped(inner, bos_token="<bos>", eos_token="<eos>")
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    return tokenizer


def eos_appended() -> Any:
    inner = _train(split(LLAMA3), ["<bos>", "<eos>"])
    inner.post_processor = _bos(inner, "<bos>", "<eos>")
    return _wrapped(inner, bos_token="<bos>", eos_token="<eos>")


@functools.cache
def word_pieces(split_words: bool) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a BPE over SentencePiece's spelling of the corpus, without bytes and special tokens."""
    inner = Tokenizer(models.BPE())
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next") if split_words else None
    texts = [line for text in CORPUS for line in text.split("\n") if line]
    inner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=330, show_progress=False, min_frequency=2))
    model = json.loads(inner.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]
