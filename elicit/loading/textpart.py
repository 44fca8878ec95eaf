"""The language model inside a multimodal one (Gemma 3, Mistral 3, Llama 4, ...).

Its config holds a `text_config`; transformers has a causal language model for that alone, and the files hold its
weights under a prefix. It is loaded as if it had been saved alone: vision and audio parts are left in the file.
"""

from __future__ import annotations

from typing import Any

from elicit.errors import ElicitError
from elicit.loading import architectures

#: Prefixes of the language model's tensors in multimodal files (as transformers writes them since version 4.52, and
#: before), and alone.
_PREFIXES = {
    r"^model\.language_model\.": "model.",
    r"^language_model\.model\.": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
}


def select_text_config(config: Any, name: str) -> Any:
    """The config to load: `config` itself, or its `text_config` where there is one.

    Raises:
        ElicitError: an encoder, an encoder-decoder, or a model that transformers has no causal language model for.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    architectures.refuse_encoder_decoder(config, name)
    text = config.get_text_config(decoder=True)
    if type(text) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ElicitError(
            f"{architectures.describe_model(config, name)} is not supported: the installed transformers has no causal "
            "language model for it. Take a decoder-only (causal) language model."
        )
    if type(text) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(text, "is_decoder", False):
        raise ElicitError(
            f"{architectures.describe_model(config, name)} is an encoder: it reads in both directions. Only "
            "decoder-only "
            "(causal) language models are supported."
        )
    if text is not config:
        text.tie_word_embeddings = config.tie_word_embeddings  # tells if the whole model's head is tied
    return text


def text_weight_options(config: Any) -> dict[str, Any]:
    """Arguments for `from_pretrained` to find the language model's weights in the files of a model of `config`."""
    return {} if config.get_text_config(decoder=True) is config else {"key_mapping": _PREFIXES}
