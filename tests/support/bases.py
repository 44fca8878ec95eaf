"""Tiny base models in folders, in every architecture and two of the ways that real ones come in.

What real models differ in, apart from their architecture, are the FACTORS. Two of the sixteen ways of a fold-over
design are built for each architecture, one the opposite of the other: so every architecture has every factor both ways,
and over all architectures any two factors meet in all four combinations.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from elicit.loading.hashes import weights_hash
from elicit.model import BaseModel, load
from tests.support.tiny import ARCHITECTURES, CHARACTERS, EOS, PAD, tiny

#: factor -> (its way when the bit is 0, when it is 1), and the bits of the row whose sum (mod 2) decides. An odd number
#: of bits each, so that the row with all bits turned round is the opposite way of everything.
FACTORS: dict[str, tuple[tuple[str, str], tuple[int, ...]]] = {
    "dtype": (("float32", "bfloat16"), (0,)),
    "embeddings": (("tied", "untied"), (1,)),
    "tokens": (("characters and BOS", "byte-level, no BOS"), (2,)),
    "pad": (("its own", "none"), (3,)),
    "asked": (("as it is", "through a chat template"), (0, 1, 2)),
    "training": (("full", "lora"), (0, 1, 3)),
}

#: As models' templates go: roles in marks, the generation prompt at the end.
TEMPLATE = (
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


class Way(NamedTuple):
    """One base model to try methods on."""

    arch: str
    turned: bool
    """Which of the architecture's two ways."""
    spare: int = 0
    """Rows behind the last token, with large values, as no training leaves them."""

    @property
    def name(self) -> str:
        return f"{self.arch}{'-turned' if self.turned else ''}{f'-{self.spare}' if self.spare else ''}"

    @property
    def levels(self) -> dict[str, str]:
        row = ARCHITECTURES.index(self.arch) % 8
        bits = [(row >> i) & 1 for i in range(4)]
        if self.turned:
            bits = [1 - bit for bit in bits]
        return {name: ways[sum(bits[i] for i in which) % 2] for name, (ways, which) in FACTORS.items()}


@functools.cache
def base(way: Way) -> BaseModel:
    """The model, read from its folder as any other is."""
    return load(str(folder(way)), dtype=way.levels["dtype"])


@functools.cache
def folder(way: Way, seed: int = 0) -> Path:
    """A folder as people have them: config, safetensors and tokenizer. Another seed is another model of the family."""
    levels = way.levels
    hf, tokenizer = tiny(way.arch, seed=seed, dtype=getattr(torch, levels["dtype"]))
    if levels["tokens"].startswith("byte"):
        tokenizer = byte_tokenizer()
        resized(hf, len(tokenizer))
    hf.config.tie_word_embeddings = levels["embeddings"] == "tied"
    head = hf.get_output_embeddings()
    if hf.config.tie_word_embeddings:
        hf.tie_weights()
    else:
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    if levels["pad"] == "its own":
        tokenizer.add_special_tokens({"pad_token": PAD})
        resized(hf, len(tokenizer))
    else:
        tokenizer.pad_token = None
    for config in (hf.config, hf.generation_config):
        config.pad_token_id, config.bos_token_id = tokenizer.pad_token_id, tokenizer.bos_token_id
        config.eos_token_id = tokenizer.eos_token_id
    if way.spare:
        resized(hf, len(tokenizer) + way.spare, std=8.0)
    tokenizer.chat_template = TEMPLATE if levels["asked"] != "as it is" else None
    place = scratch() / f"{way.name}-{seed}"
    hf.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def byte_tokenizer() -> Any:
    """Byte-level BPE with a few merges, as GPT-2's and Qwen's: an end token, and neither BOS nor unknown."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + 24, initial_alphabet=alphabet, special_tokens=[EOS], show_progress=False
    )
    inner.train_from_iterator([CHARACTERS, "the think then answer question assistant user " * 4], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=EOS, clean_up_tokenization_spaces=False)


def resized(hf: Any, rows: int, *, std: float = 0.4) -> None:
    """Embedding and head for more tokens, the new rows as wide as the others."""
    if hf.get_input_embeddings().weight.shape[0] >= rows:
        return
    old = hf.get_input_embeddings().weight.shape[0]
    dtype = hf.dtype
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        hf.resize_token_embeddings(rows, mean_resizing=False)
        for part in (hf.get_input_embeddings(), hf.get_output_embeddings()):
            part.weight[old:] = torch.randn(rows - old, part.weight.shape[1]).to(dtype) * std


def state(model: BaseModel) -> str:
    """Hash of everything of a base that fitting or answering could disturb."""
    hf = model.hf
    parts = {
        "weights": weights_hash(hf),
        "named": sorted(name for name, _ in hf.named_parameters()),
        "grad": [(p.requires_grad, p.grad is None) for p in hf.parameters()],
        "attributes": {name: sorted(vars(module)) for name, module in hf.named_modules()},
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in hf.modules()],
        "modes": [module.training for module in hf.modules()],
        "config": hf.config.to_dict(),
        "generation": hf.generation_config.to_dict(),
        "tokenizer": (repr(model.tokenizer), model.tokenizer.padding_side),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@functools.cache
def scratch() -> Path:
    """A folder that lives as long as the process."""
    place = tempfile.mkdtemp(prefix="elicit-ways-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return Path(place)
