"""Real tokenizer files that the package mistral-common carries: SentencePiece (7B v0.1, v0.3), tekken (Pixtral)."""

from __future__ import annotations

import base64
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, processors
from tokenizers.models import BPE
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests.zoo import byte_level, pieces

V1, V3 = "tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"
TEKKEN = "tekken_240911.json"


def file(name: str) -> Path:
    """The path of a file of the package; skips the test without it. Nothing of the package is imported."""
    spec = importlib.util.find_spec("mistral_common")
    if spec is None or spec.origin is None:
        pytest.skip("mistral-common is not installed")
    return Path(spec.origin).parent / "data" / name


def _sentencepiece(name: str) -> Tokenizer:
    from transformers.convert_slow_tokenizer import SentencePieceExtractor

    parts = SentencePieceExtractor(str(file(name))).extract(BPE)
    model = BPE(vocab=parts["vocab"], merges=parts["merges"], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    inner = Tokenizer(model)
    inner.add_special_tokens([AddedToken("<unk>", special=True, normalized=False), *parts["additional_special_tokens"]])
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return inner


def v1_legacy() -> Any:
    """Mistral 7B v0.1, as its tokenizer.json on the hub has it."""
    return pieces.wrapped(pieces.prepending(_sentencepiece(V1)), unk_token="<unk>")


def v3_first() -> Any:
    """Mistral 7B v0.3, with control tokens for instructions."""
    return pieces.wrapped(pieces.metaspaced(_sentencepiece(V3), "first"), unk_token="<unk>")


def tekken() -> Any:
    """Pixtral's, its first 30,000 ranks (all take half a minute to convert): byte strings, behind control tokens."""
    document = json.loads(file(TEKKEN).read_bytes())
    config, spelling = document["config"], bytes_to_unicode()
    first, size = config["default_num_special_tokens"], 31_000
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in document["vocab"][: size - first]}

    def spelt(token: bytes) -> str:
        return "".join(spelling[byte] for byte in token)

    merges = []
    for token in ranks:
        pairs = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        merges += sorted(
            ((left, right) for left, right in pairs if left in ranks and right in ranks),
            key=lambda pair: (ranks[pair[0]], ranks[pair[1]]),
        )
    named = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    control = [*named, *(f"<SPECIAL_{i}>" for i in range(len(named), first))]
    vocab = {token: i for i, token in enumerate(control)} | {spelt(token): first + i for token, i in ranks.items()}
    inner = Tokenizer(BPE(vocab, [(spelt(left), spelt(right)) for left, right in merges], ignore_merges=True))
    inner.pre_tokenizer = byte_level.split(config["pattern"])
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return pieces.wrapped(inner, unk_token="<unk>")
