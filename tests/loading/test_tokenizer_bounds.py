"""Tokenizers whose rules explode are refused in one line; those of real families are read."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from elicit.errors import ElicitError
from elicit.loading.load import read_tokenizer
from elicit.loading.tokenizer_bounds import check_tokenizer, repeats_in_repeats
from tests.support.bases import byte_tokenizer
from tests.support.tiny import char_tokenizer

#: Patterns of GPT-2, Llama 3, Qwen 2, o200k (GPT-OSS), DeepSeek and tekken, in parts.
REAL = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{M}]*[\p{Ll}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|\s+(?!\S)|\s+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*",
)


def written(place: Path, **parts: Any) -> Path:
    char_tokenizer().save_pretrained(place)
    path = place / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))
    return place


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(steps)}


CHARSMAP = base64.b64encode((4).to_bytes(4, "little") + b"\0\0\0\0" + b"x" * 10**6 + b"\0").decode()


@pytest.mark.parametrize(
    "normalizer",
    [
        sequence(*[replace({"String": "a"}, "aa")] * 40),
        sequence(sequence(*[replace({"String": "a"}, "aa")] * 20), sequence(*[replace({"String": "a"}, "aa")] * 20)),
        replace({"String": "a"}, "b" * 10**6),
        sequence(*[replace({"Regex": "."}, "ab")] * 40),
        sequence(*[replace({"Regex": ""}, "x")] * 40),
        {"type": "Prepend", "prepend": "x" * 10**6},
        {"type": "Precompiled", "precompiled_charsmap": CHARSMAP},
    ],
    ids=["doubling", "nested", "long", "pattern", "between", "prepend", "charsmap"],
)
def test_rules_that_explode_are_refused(normalizer: dict[str, Any], tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(ElicitError, match=r"tokenizer of m is not used: the normalizer .* characters of one"):
        read_tokenizer(written(tmp_path, normalizer=normalizer), "m")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("pattern", [r"(?:a|aa)+$", r"(?:0|0+)+$"])
def test_a_pattern_that_searches_without_end_is_refused(pattern: str, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(ElicitError, match="tokenizer of m"):
        read_tokenizer(written(tmp_path, pre_tokenizer=split(pattern)), "m")
    assert time.monotonic() - began < 30


def test_ordinary_rules_are_read(tmp_path: Path) -> None:
    arabic = [replace({"Regex": letters}, "x") for letters in ("[إأآا]", "[ىي]", "ة")] * 20
    llama = sequence({"type": "Prepend", "prepend": "▁"}, replace({"String": " "}, "▁"), *arabic, {"type": "NFKC"})
    assert read_tokenizer(written(tmp_path / "a", normalizer=llama), "m").get_vocab()
    byte_tokenizer().save_pretrained(tmp_path / "b")
    assert read_tokenizer(tmp_path / "b", "m").get_vocab()
    for i, pattern in enumerate(REAL):
        assert not repeats_in_repeats(pattern)
        assert read_tokenizer(written(tmp_path / f"p{i}", pre_tokenizer=split(pattern)), "m").get_vocab()
    # A repetition in a repetition that is read in no time is as good as any.
    check_tokenizer(written(tmp_path / "c", pre_tokenizer=split(r"(?:[0-9]+,)+|[\s\S]")) / "tokenizer.json", "m")
