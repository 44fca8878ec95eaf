"""A base model around a transformers model that is in memory already."""

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
    """A `BaseModel` around a transformers causal language model, prepared as `elicit.load` prepares one.

    The model is used as it is, not copied: its weights stay yours, and training them changes what the wrapper samples.
    What changes on it: it is put into evaluation mode; its generation config gets every end token and the pad token,
    its config the pad token, and both `use_cache`; with dynamic rotary scaling it forgets the lengths of earlier
    passes. The tokenizer is copied: yours stays as it was.

    Rows of its embedding that are no tokens stay (`elicit.load` cuts off those behind the last token): they are never
    drawn, scored or trained on, but they count in the hash of the weights.

    Threads are left as they are. `elicit.compare` needs a model that it can load by name, so save one first.

    Args:
        hf_model: with a language-model head, unquantised.
        tokenizer: its tokenizer.
        name: what reports and messages call it. Not looked up anywhere. None: what its config says it was loaded from,
            or its class.
        cache_gib: as in `elicit.load`.

    Raises:
        ElicitError: something that is no causal language model or no tokenizer, a quantised model, an adapter that is
            not merged, or a model that does not pass its self-test.
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
        raise ElicitError(f"wrap: {one_line(name, 80)} has no generation config: it is no model that generates text.")
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
