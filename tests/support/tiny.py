"""Tiny random models of every supported layout, so that no test needs a download.

They are as awkward as the real families: grouped query heads where the family has them, tied weights where it ties
them, and for Gemma a sliding window of 8 on some layers but not on others. Weights are drawn wide, so that greedy
text depends on the prompt: with the usual 0.02 an untrained model repeats one token and equality tests mean nothing.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import string
import tempfile
from collections.abc import Callable
from typing import Any

import torch

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3", "gpt_neox", "olmo2", "phi3", "gpt2")

#: Near relations of those above: what is tested of them are layers, bridge, loading, sampling and steering.
RELATED = ("mistral", "smollm3", "olmo", "olmo3", "gemma")

CHARACTERS = "\n " + string.digits + string.ascii_letters + string.punctuation
PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
WINDOW = 8
"""Sliding window of the Gemma layouts, in tokens: shorter than any test's prompt plus completion."""

_SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "max_position_embeddings": 256}
_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
_MIXED = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": WINDOW}


def tiny(
    arch: str, *, vocab: str = CHARACTERS, seed: int = 0, dtype: torch.dtype = torch.float32, std: float = 0.4
) -> tuple[Any, Any]:
    """(model in eval mode, tokenizer) of one of ARCHITECTURES, the same for the same arguments.

    Args:
        arch: a layout, by its name in ARCHITECTURES or RELATED.
        vocab: the characters that are tokens. `<pad> <bos> <eos> <unk>` come before them, as ids 0 to 3.
        seed: seed of the weights. The global generator is left as it was.
        std: standard deviation of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _BUILDERS[arch](4 + len(vocab), {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2})
        for name, parameter in sorted(model.named_parameters()):
            wide = std if parameter.ndim > 1 else std / 4
            torch.nn.init.normal_(parameter, mean=norm_mean(name, arch), std=wide)
    return model.to(dtype).eval(), char_tokenizer(vocab)


def char_tokenizer(vocab: str = CHARACTERS) -> Any:
    """One token per character, `<bos>` in front. Saved and read again, so that `name_or_path` exists."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate([PAD, BOS, EOS, UNK, *vocab])}
    inner = Tokenizer(models.WordLevel(ids, unk_token=UNK))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    inner.decoder = decoders.Fuse()
    inner.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])])
    special = {"pad_token": PAD, "bos_token": BOS, "eos_token": EOS, "unk_token": UNK}
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, clean_up_tokenization_spaces=False, **special)
    folder = _tokenizer_folder(vocab)
    fast.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@functools.cache
def _tokenizer_folder(vocab: str) -> str:
    """A folder for this vocabulary that lives as long as the process: TransformerLens reads tokenizers again."""
    folder = tempfile.mkdtemp(prefix="tiny-tokenizer-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def norm_mean(name: str, arch: str) -> float:
    """Norm weights are multipliers around 1, which Gemma stores less 1.

    Gemma also scales its (tied) embeddings up by sqrt(d): without larger norms after each block an untrained model
    would only repeat its last token.
    """
    if arch.startswith("gemma"):
        return 4.0 if "post_" in name else 0.0
    return 1.0 if name.endswith("weight") and ("norm" in name or ".ln_" in name) else 0.0


def _llama(vocab_size: int, special: dict[str, int]) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, **special, **_SIZE, **_HEADS))


def _qwen2(vocab_size: int, special: dict[str, int]) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(Qwen2Config(vocab_size=vocab_size, tie_word_embeddings=True, **special, **_SIZE, **_HEADS))


def _qwen3(vocab_size: int, special: dict[str, int]) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    # The heads are wider than hidden_size / heads, as in the small models of the family.
    config = Qwen3Config(vocab_size=vocab_size, head_dim=12, tie_word_embeddings=True, **special, **_SIZE, **_HEADS)
    return Qwen3ForCausalLM(config)


def _gemma2(vocab_size: int, special: dict[str, int]) -> Any:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=vocab_size, head_dim=8, query_pre_attn_scalar=8, **_MIXED, **special, **_SIZE, **_HEADS
    )
    return Gemma2ForCausalLM(config)


def _gemma3(vocab_size: int, special: dict[str, int]) -> Any:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=vocab_size, head_dim=8, query_pre_attn_scalar=8, **_MIXED, **special, **_SIZE, **_HEADS
    )
    return Gemma3ForCausalLM(config)


def _gpt_neox(vocab_size: int, special: dict[str, int]) -> Any:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    return GPTNeoXForCausalLM(
        GPTNeoXConfig(vocab_size=vocab_size, num_attention_heads=4, tie_word_embeddings=False, **special, **_SIZE)
    )


def _olmo2(vocab_size: int, special: dict[str, int]) -> Any:
    from transformers import Olmo2Config, Olmo2ForCausalLM

    return Olmo2ForCausalLM(Olmo2Config(vocab_size=vocab_size, **special, **_SIZE, **_HEADS))


def _phi3(vocab_size: int, special: dict[str, int]) -> Any:
    from transformers import Phi3Config, Phi3ForCausalLM

    return Phi3ForCausalLM(Phi3Config(vocab_size=vocab_size, **special, **_SIZE, **_HEADS))


def _gpt2(vocab_size: int, special: dict[str, int]) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(vocab_size=vocab_size, n_embd=32, n_layer=3, n_head=4, n_positions=256, **special)
    )


def _related(model: str, config: str, **options: Any) -> Callable[[int, dict[str, int]], Any]:
    """A builder for an architecture whose config takes the common names."""

    def build(vocab_size: int, special: dict[str, int]) -> Any:
        import transformers

        made = getattr(transformers, config)(vocab_size=vocab_size, **options, **special, **_SIZE, **_HEADS)
        return getattr(transformers, model)(made)

    return build


_BUILDERS: dict[str, Callable[[int, dict[str, int]], Any]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "gpt_neox": _gpt_neox,
    "olmo2": _olmo2,
    "phi3": _phi3,
    "gpt2": _gpt2,
    "mistral": _related("MistralForCausalLM", "MistralConfig", sliding_window=WINDOW),
    # No rotary positions in every second layer.
    "smollm3": _related("SmolLM3ForCausalLM", "SmolLM3Config", no_rope_layer_interval=2),
    "olmo": _related("OlmoForCausalLM", "OlmoConfig"),
    "olmo3": _related("Olmo3ForCausalLM", "Olmo3Config", **_MIXED),
    "gemma": _related("GemmaForCausalLM", "GemmaConfig", head_dim=8),
}
