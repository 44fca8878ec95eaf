"""A pad token of its own.

Many base models come without one, and the usual remedy, pad = EOS, hides EOS from the loss wherever padding is masked
by id: a model trained so never learns to stop.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from elicit.loading import architectures, ends

PAD = "<|pad|>"

#: Made for padding (Llama 3.1, Pythia and older conventions) ...
_DEDICATED = ("<pad>", PAD, "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>")
#: ... or reserved and never trained (Llama 3, Gemma, Phi-3, and GGUF files, which name the spare rows).
_RESERVED = re.compile(r"<\|reserved_special_token_\d+\|>|<unused\d+>|<\|placeholder\d+\|>|<\|dummy_\d+\|>|\[PAD\d+\]")


def own_pad(tokenizer: Any, hf: Any) -> int:
    """Give tokenizer and model a pad token that is neither BOS nor EOS, and return its id.

    In this order: the pad token it has; a token made for padding or reserved; the unknown token, which byte-level and
    byte-fallback tokenizers never produce; a new `<|pad|>`. A new one mostly finds a spare row in the embedding, which
    models round up; otherwise the embedding grows by a row of zeros.

    A pad row's logit means nothing: it is untrained, and zero in a new row, which can be the largest of all. So
    **whoever samples must ban the returned id** (it stays in `tokenizer.pad_token_id`). Doing it twice changes nothing.
    """
    model = architectures.plain(hf)
    rows = model.get_input_embeddings().weight.shape[0]
    taken = _taken(tokenizer, model)
    pad = _existing(tokenizer, rows, taken)
    if pad is None:
        tokenizer.add_special_tokens({"pad_token": PAD})
        pad = int(tokenizer.pad_token_id)
        if pad >= rows:
            _grow(model, pad + 1)
    else:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    model.config.pad_token_id = model.generation_config.pad_token_id = pad
    return pad


def _taken(tokenizer: Any, model: Any) -> set[int]:
    """Every id that begins or ends a text."""
    begins = (tokenizer.bos_token_id, model.config.bos_token_id, model.generation_config.bos_token_id)
    return {*ends.end_ids(tokenizer, model), *(i for i in begins if i is not None)}


def _existing(tokenizer: Any, rows: int, taken: set[int]) -> int | None:
    vocab: dict[str, int] = tokenizer.get_vocab()
    reserved = sorted((i, token) for token, i in vocab.items() if _RESERVED.fullmatch(token))
    candidates = [
        tokenizer.pad_token_id,
        *(vocab.get(token) for token in _DEDICATED),
        *(i for i, _ in reserved),
        tokenizer.unk_token_id,
    ]
    return next((int(i) for i in candidates if i is not None and i not in taken and i < rows), None)


@torch.no_grad()
def _grow(model: Any, rows: int) -> None:
    """Add rows of zeros to the embedding and the head (for transformers, one and the same if they are tied)."""
    old = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(rows, mean_resizing=False)
    model.get_input_embeddings().weight[old:] = 0
    head = model.get_output_embeddings()
    head.weight[old:] = 0
    if head.bias is not None:
        head.bias[old:] = 0
