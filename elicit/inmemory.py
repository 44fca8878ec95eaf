"""Wrap a transformers model that is already in memory as a base model."""

from __future__ import annotations

import copy
from typing import Any

from elicit import selftest
from elicit.errors import ElicitError, one_line
from elicit.loading import architectures, ends, hashes, rows
from elicit.loading.catalog import ModelSource
from elicit.loading.frequencies import reset_dynamic_rope
from elicit.loading.load import LoadedModel
from elicit.loading.textpart import select_text_config
from elicit.loading.tokens import set_pad_token
from elicit.model import BaseModel


def wrap(hf_model: Any, tokenizer: Any, *, name: str | None = None, cache_gib: float | None = None) -> BaseModel:
    """Wrap a transformers causal language model as a `BaseModel`, prepared as by `elicit.load`.

    The model is used, not copied: if you train its weights, the wrapper's samples change. The following changes on it:
    it is put into evaluation mode; its generation config gets every end token and the pad token, its config the pad
    token, and both `use_cache`; with dynamic rotary scaling it forgets the lengths of earlier passes. The tokenizer is
    copied, so yours is unchanged.

    Rows of its embedding that are not tokens remain (`elicit.load` removes those after the last token): they are never
    sampled, scored or trained, but they enter the hash of the weights.

    The number of threads is not changed. `elicit.compare` loads models by name, so save the model first.

    Args:
        hf_model: with a language-model head, unquantised.
        tokenizer: its tokenizer.
        name: name for reports and messages; it is not looked up. None: the name from which its config says it was
            loaded, or its class.
        cache_gib: as in `elicit.load`.

    Raises:
        ElicitError: the model is not a causal language model, is quantised, has an adapter that is not merged, or does
            not pass its self-test; or the tokenizer is not a tokenizer.
    """
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    if not isinstance(hf_model, PreTrainedModel):
        raise ElicitError(
            f"wrap: expected a transformers model, got {type(hf_model).__name__}. For a PeftModel type: "
            "elicit.wrap(peft_model.merge_and_unload(), ...)"
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ElicitError(f"wrap: expected a transformers tokenizer, got {type(tokenizer).__name__}.")
    name = str(hf_model.config.name_or_path or type(hf_model).__name__) if name is None else name
    if not name.strip():
        raise ElicitError("wrap: the name is empty. Type: elicit.wrap(hf_model, tokenizer, name='my model')")
    if getattr(hf_model, "hf_quantizer", None) is not None:
        raise ElicitError(f"wrap: {one_line(name, 80)} is quantised, which is not supported. Load it unquantised.")
    architectures.refuse_encoder_decoder(hf_model.config, name)
    if hf_model.config.get_text_config(decoder=True) is not hf_model.config:
        raise ElicitError(
            f"wrap: {one_line(name, 80)} is a multimodal model ({type(hf_model).__name__}), of which the language "
            "model is used alone. Save it, and load its text part: elicit.load('FOLDER')"
        )
    select_text_config(hf_model.config, name)
    architectures.get_layout(hf_model, name=name)
    if hf_model.generation_config is None:
        raise ElicitError(f"wrap: {one_line(name, 80)} lacks a generation config: it does not generate text.")
    tokenizer = copy.deepcopy(tokenizer)
    rows.warn_of_rowless_tokens(tokenizer, hf_model, name)
    ends.warn_of_lost_turn_end(tokenizer, hf_model, name)
    ends.set_end_ids(tokenizer, hf_model)
    set_pad_token(tokenizer, hf_model)
    reset_dynamic_rope(hf_model)
    hf_model.config.use_cache = hf_model.generation_config.use_cache = True
    loaded = LoadedModel(
        hf=hf_model.eval(),
        tokenizer=tokenizer,
        name=name,
        source=ModelSource("memory", name, None),
        weights_sha256=hashes.weights_hash(hf_model),
        tokenizer_sha256=hashes.tokenizer_hash(tokenizer),
        card=None,
    )
    model = BaseModel(loaded, cache_bytes=None if cache_gib is None else int(cache_gib * 2**30))
    selftest.self_test_once(model.engine, loaded)
    return model
