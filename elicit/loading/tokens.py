"""The id that pads.

Padding is masked by position everywhere in the lab (attention, labels, lengths), so any id can pad, and none is
invented for it: a model keeps the tokens that it came with.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from elicit.loading import architectures, ends, rows

#: Made for padding (Llama 3.1, Pythia and older conventions) ...
_DEDICATED = ("<pad>", "<|pad|>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>")
#: ... or reserved and never trained (Llama 3, Gemma, Phi-3).
_RESERVED = re.compile(r"<\|reserved_special_token_\d+\|>|<unused\d+>|<\|placeholder\d+\|>|<\|dummy_\d+\|>")


def own_pad(tokenizer: Any, hf: Any) -> int | None:
    """Give tokenizer and model a pad token that begins and ends no text, and return its id, if there is one.

    In this order: the pad token it has; a token made for padding or reserved; the unknown token, which byte-level and
    byte-fallback tokenizers never produce. Such a token was never trained, and **whoever samples must ban it**
    (`banned_pad`). Where there is none of them, the tokenizer stays as it is: without a pad token, or with one that is
    an end token too, as many base models have it. Doing it twice changes nothing.
    """
    model = architectures.plain(hf)
    size = rows.count(model)
    pad = _existing(tokenizer, size, _taken(tokenizer, model))
    if pad is not None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
        model.config.pad_token_id = model.generation_config.pad_token_id = pad
    elif tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= size:
        tokenizer.pad_token = None
    return pad


def banned_pad(tokenizer: Any, hf: Any) -> int | None:
    """The pad token, if it is for padding alone; None where it begins or ends texts too, and where there is none."""
    pad = tokenizer.pad_token_id
    return None if pad is None or pad in _taken(tokenizer, architectures.plain(hf)) else int(pad)


def padding_id(tokenizer: Any, hf: Any) -> int:
    """The id to pad with: the pad token, else an end token, else any. Whoever pads with it must mask by position."""
    size = rows.count(hf)
    known = [tokenizer.pad_token_id, tokenizer.eos_token_id, *sorted(ends.end_ids(tokenizer, hf))]
    return next((int(i) for i in known if i is not None and i < size), min(rows.token_ids(tokenizer), default=0))


def tokenizer_that_pads(tokenizer: Any, hf: Any) -> Any:
    """The tokenizer, or a copy with a pad token if it has none: TRL asks for one."""
    if tokenizer.pad_token_id is not None:
        return tokenizer
    own = copy.deepcopy(tokenizer)
    own.pad_token = own.convert_ids_to_tokens(padding_id(tokenizer, hf))
    return own


def _taken(tokenizer: Any, model: Any) -> set[int]:
    """Every id that begins or ends a text."""
    begins = (tokenizer.bos_token_id, model.config.bos_token_id, model.generation_config.bos_token_id)
    return {*ends.end_ids(tokenizer, model), *(i for i in begins if i is not None)}


def _existing(tokenizer: Any, size: int, taken: set[int]) -> int | None:
    vocab: dict[str, int] = tokenizer.get_vocab()
    reserved = sorted((i, token) for token, i in vocab.items() if _RESERVED.fullmatch(token))
    candidates = [
        tokenizer.pad_token_id,
        *(vocab.get(token) for token in _DEDICATED),
        *(i for i, _ in reserved),
        tokenizer.unk_token_id,
    ]
    return next((int(i) for i in candidates if i is not None and i not in taken and i < size), None)
