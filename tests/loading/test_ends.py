"""Tokenizers with none, several, or the same special tokens; what ends an answer, and one BOS at most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import processors
from transformers import AutoTokenizer

import elicit
from elicit.loading import ends, load_transformers
from elicit.sampling import Decoding
from tests.support.tiny import char_tokenizer, tiny

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def model(folder: Path, **special: str | None) -> tuple[Any, Any]:
    """The tiny llama and its tokenizer, with the special tokens changed, as files would have them."""
    hf, tokenizer = tiny("llama")
    for name, value in special.items():
        setattr(tokenizer, name, value)
    hf.config.eos_token_id = hf.generation_config.eos_token_id = tokenizer.eos_token_id
    hf.config.pad_token_id = hf.generation_config.pad_token_id = tokenizer.pad_token_id
    hf.config.bos_token_id = hf.generation_config.bos_token_id = tokenizer.bos_token_id
    hf.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return hf, tokenizer


@pytest.mark.parametrize(
    "special",
    [
        {"pad_token": None},
        {"eos_token": None},
        {"bos_token": None},
        {"pad_token": "<eos>"},
        {"pad_token": None, "eos_token": None, "bos_token": None},
    ],
    ids=str,
)
def test_any_lack_of_special_tokens_still_samples_and_ends(
    tmp_path: Path, special: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model(tmp_path, **special)
    assert elicit.load(str(tmp_path)).engine.end_ids == {2}, "a control token called <eos> ends, whoever names it"
    monkeypatch.setattr(ends, "NAMES", ())
    base = elicit.load(str(tmp_path))
    pad = base.tokenizer.pad_token_id
    assert pad is not None
    assert pad not in {base.tokenizer.bos_token_id, base.tokenizer.eos_token_id}
    ended = "eos_token" not in special
    assert base.engine.end_ids == (frozenset({2}) if ended else frozenset())
    decoding = Decoding(max_new_tokens=24, temperature=1.0)
    completions = [one for drawn in base.sample(["ab", "hello"], n=8, decoding=decoding) for one in drawn]
    assert all(pad not in one.tokens for one in completions)
    assert all(len(one.tokens) == 24 for one in completions if one.finish == "length")
    assert {one.finish for one in completions} <= ({"length", "eos"} if ended else {"length"})
    # A stop string that is one of the texts' own characters ends the others.
    letter = completions[0].text[3]
    stopped = base.sample(["ab"], decoding=decoding.replace(stop=(letter,)), n=8)[0]
    assert any(one.finish == "stop" for one in stopped)
    assert all(letter not in one.text for one in stopped)


def test_a_chat_s_end_of_turn_and_end_of_text_both_end(tmp_path: Path) -> None:
    hf, tokenizer = tiny("llama")
    special = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|over|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.add_tokens(["<end_of_turn>"])  # an ordinary piece that looks like an end
    hf.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    ids = dict(zip(special, tokenizer.convert_tokens_to_ids(special), strict=True))
    # As a converted GGUF says it: EOS is the end of turn, and end of text is pad.
    tokenizer.eos_token, tokenizer.pad_token = "<eos>", "<|endoftext|>"
    tokenizer.chat_template = CHATML
    hf.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_transformers(tmp_path)
    found = loaded.hf.generation_config.eos_token_id
    assert set(found) == {2, ids["<|im_end|>"], ids["<|endoftext|>"]}
    assert found[0] == 2, "the file's own stays first"
    assert loaded.tokenizer.pad_token_id not in found
    # An end of turn of an unknown name is found in the template.
    tokenizer.chat_template = CHATML.replace("<|im_end|>", "<|over|>")
    assert ids["<|over|>"] in ends.find_end_ids(tokenizer, hf)
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    assert ids["<|over|>"] not in ends.find_end_ids(tokenizer, hf)


@pytest.mark.parametrize(
    ("single", "text", "expected"),
    [
        ("$A", "ab", "ab"),
        ("<bos> $A", "ab", "<bos>ab"),
        ("<bos> $A", "<bos>ab", "<bos>ab"),
        ("<bos> $A", "", "<bos>"),
        ("<bos> $A", "<bos>", "<bos>"),
        ("<bos> $A <eos>", "ab", "<bos>ab"),
        ("$A <eos>", "ab", "ab"),
        ("$A <eos>", "", ""),
    ],
)
def test_bos_once_and_nothing_behind(single: str, text: str, expected: str) -> None:
    tokenizer = char_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    found = ends.encode_prompt(tokenizer, text)
    assert tokenizer.decode(found, skip_special_tokens=False) == expected
    assert list(found) == tokenizer(expected, add_special_tokens=False).input_ids


def test_a_folder_with_nothing_but_a_sentencepiece_model(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    words = ["two three four five add times is seven eight the sum of numbers 1 2 3 4 5 6 7 8 9 0 + = ?"] * 50
    (tmp_path / "text").write_text("\n".join(words))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=340,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    from transformers import LlamaConfig, LlamaForCausalLM

    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=reference.vocab_size(), **size)).save_pretrained(tmp_path / "m")
    (tmp_path / "tokenizer.model").rename(tmp_path / "m" / "tokenizer.model")
    told = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "m" / "tokenizer_config.json").write_text(json.dumps({**told, "add_bos_token": True, "legacy": False}))
    base = elicit.load(str(tmp_path / "m"))
    for text in ("the sum of 12 + 34 =", "two  three\nééé"):
        assert base.encode(text) == (1, *reference.encode(text))
        assert base.encode(f"<s>{text}")[:2].count(1) == 1
    assert base.engine.end_ids == frozenset({2})
    assert len(base.sample(["two"], decoding=Decoding(max_new_tokens=4))[0][0].tokens) <= 4
    assert AutoTokenizer.from_pretrained(tmp_path / "m").vocab_size == reference.vocab_size()


def test_ends_do_not_change_what_is_known_of_a_model(tmp_path: Path) -> None:
    hf, _ = model(tmp_path)
    loaded = load_transformers(tmp_path)
    assert loaded.hf.generation_config.eos_token_id == 2
    assert torch.equal(loaded.hf.lm_head.weight, hf.lm_head.weight)
