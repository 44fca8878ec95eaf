"""The pad token of a model.

Padding is masked by position everywhere in this package (attention, labels, lengths), so any id can pad, and no token
is added for it: a model keeps its original tokens.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from elicit.loading import architectures, ends, rows

#: Tokens made for padding (Llama 3.1, Pythia and older conventions) ...
_DEDICATED = ("<pad>", "<|pad|>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>")
#: ... and tokens that are reserved and never trained (Llama 3, Gemma, Phi-3).
_RESERVED = re.compile(r"<\|reserved_special_token_\d+\|>|<unused\d+>|<\|placeholder\d+\|>|<\|dummy_\d+\|>")


def set_pad_token(tokenizer: Any, hf: Any) -> int | None:
    """Give tokenizer and model a pad token that begins and ends no text, and return its id, or None.

    In this order: the pad token it has; a token made for padding or reserved; the unknown token, which byte-level and
    byte-fallback tokenizers never produce. Such a token was never trained, and **samplers must ban it**
    (`find_banned_pad`). Without any of them the tokenizer stays unchanged: without a pad token, or with one that is
    also an end token, as in many base models. Idempotent.
    """
    model = architectures.unwrap_model(hf)
    size = rows.count_rows(model)
    pad = _find_unused_token(tokenizer, size, _find_boundary_ids(tokenizer, model))
    if pad is not None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
        model.config.pad_token_id = model.generation_config.pad_token_id = pad
    elif tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= size:
        tokenizer.pad_token = None
    return pad


def find_banned_pad(tokenizer: Any, hf: Any) -> int | None:
    """Pad token, if it is used only for padding; None if it also begins or ends texts, or if there is none."""
    pad = tokenizer.pad_token_id
    return None if pad is None or pad in _find_boundary_ids(tokenizer, architectures.unwrap_model(hf)) else int(pad)


def choose_padding_id(tokenizer: Any, hf: Any) -> int:
    """Id to pad with: the pad token, else an end token, else any. Callers must mask by position."""
    size = rows.count_rows(hf)
    known = [tokenizer.pad_token_id, tokenizer.eos_token_id, *sorted(ends.find_end_ids(tokenizer, hf))]
    return next((int(i) for i in known if i is not None and i < size), min(rows.token_ids(tokenizer), default=0))


def ensure_pad_token(tokenizer: Any, hf: Any) -> Any:
    """The tokenizer, or a copy with a pad token if it has none: TRL requires one."""
    if tokenizer.pad_token_id is not None:
        return tokenizer
    tokenizer_copy = copy.deepcopy(tokenizer)
    tokenizer_copy.pad_token = tokenizer_copy.convert_ids_to_tokens(choose_padding_id(tokenizer, hf))
    return tokenizer_copy


def _find_boundary_ids(tokenizer: Any, model: Any) -> set[int]:
    """Every id that begins or ends a text."""
    begins = (tokenizer.bos_token_id, model.config.bos_token_id, model.generation_config.bos_token_id)
    return {*ends.find_end_ids(tokenizer, model), *(i for i in begins if i is not None)}


def _find_unused_token(tokenizer: Any, size: int, boundary_ids: set[int]) -> int | None:
    vocab: dict[str, int] = tokenizer.get_vocab()
    reserved = sorted((i, token) for token, i in vocab.items() if _RESERVED.fullmatch(token))
    candidates = [
        tokenizer.pad_token_id,
        *(vocab.get(token) for token in _DEDICATED),
        *(i for i, _ in reserved),
        tokenizer.unk_token_id,
    ]
    return next((int(i) for i in candidates if i is not None and i not in boundary_ids and i < size), None)
