"""Embedding rows and tokens: a model in memory has a row for each token and no others.

Models round their embeddings up (Qwen2.5: 151,936 rows for 151,665 tokens). A row without a token was never trained and
may hold anything, yet a softmax counts it and a sampler can draw it. So loading cuts off the rows after the last token:
then no sampler, loss or copy of the model can use them. Rows between tokens (a gap in the numbering) cannot be cut off;
`find_unassigned_ids` lists them, and samplers, scorers and trainers leave them out. The opposite also happens
(CodeLlama-34b: 32,004 tokens for 32,000 rows): loading warns of tokens without a row, and text that holds one is
refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch

from elicit.errors import ElicitError, one_line
from elicit.loading import architectures

#: Names of rows without a token in GGUF files.
_SPARE = re.compile(r"\[PAD(\d+)\]")


def token_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of all tokens of a tokenizer. GGUF's names of spare rows (`[PAD151670]`) are not tokens."""
    return _token_ids(tokenizer, len(tokenizer))


@lru_cache(maxsize=16)
def _token_ids(tokenizer: Any, size: int) -> frozenset[int]:
    """Cached ids, since a large vocabulary takes a tenth of a second; `size` changes when tokens are added."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    return frozenset(int(i) for token, i in vocabulary.items() if not _is_spare(token, int(i)))


def _is_spare(token: str, index: int) -> bool:
    match = _SPARE.fullmatch(token)
    return match is not None and int(match[1]) == index


def count_rows(hf: Any) -> int:
    """Number of rows of the embedding."""
    return int(architectures.unwrap_model(hf).get_input_embeddings().weight.shape[0])


def count_rows_in_files(hf: Any) -> int:
    """Number of embedding rows in the model's files, before `trim_to_tokens`."""
    return int(vars(architectures.unwrap_model(hf)).get("rows_in_files", count_rows(hf)))


def find_unassigned_ids(tokenizer: Any, hf: Any) -> tuple[int, ...]:
    """Rows of a model that are not tokens of the tokenizer, in order: never to be drawn, scored or trained on."""
    return tuple(sorted(set(range(count_rows(hf))) - token_ids(tokenizer)))


@torch.no_grad()
def trim_to_tokens(tokenizer: Any, hf: Any) -> None:
    """Cut off the rows after the last token, from the embedding and from the head (its bias too), in place.

    Parameter objects stay the same, so tied weights stay tied. Idempotent.
    """
    model = architectures.unwrap_model(hf)
    rows, size = count_rows(model), max(token_ids(tokenizer), default=-1) + 1
    model.rows_in_files = count_rows_in_files(model)
    if not 0 < size < rows:
        return
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    for module in (embedding, head):
        for parameter in module.parameters(recurse=False):
            if len(parameter) == rows:
                parameter.data = parameter.data[:size].clone()
    embedding.num_embeddings = head.out_features = model.config.get_text_config(decoder=True).vocab_size = size
    if embedding.padding_idx is not None and embedding.padding_idx >= size:
        embedding.padding_idx = None
    for module in (model, model.base_model):
        if "vocab_size" in vars(module):
            module.vocab_size = size


def trim_tensor(tensor: torch.Tensor, shape: Sequence[int], hf: Any) -> torch.Tensor:
    """Tensor made for the model's files, without the rows that `trim_to_tokens` cut off, if it then has `shape`.

    Otherwise the unchanged tensor: it belongs to another vocabulary.
    """
    before, after = count_rows_in_files(hf), count_rows(hf)
    trimmed = tensor
    for axis, (size, target_size) in enumerate(zip(tensor.shape, shape, strict=False)):
        if (size, target_size) == (before, after):
            trimmed = trimmed.narrow(axis, 0, after)
    return trimmed if trimmed.shape == torch.Size(shape) else tensor


def warn_of_rowless_tokens(tokenizer: Any, hf: Any, name: str) -> None:
    """Warn of tokens for which the weights have no row."""
    rows = count_rows(hf)
    missing = sorted(i for i in token_ids(tokenizer) if i >= rows)
    if missing:
        first = ", ".join(one_line(repr(token), 40) for token in tokenizer.convert_ids_to_tokens(missing[:3]))
        warnings.warn(
            f"{name}: its weights have {rows:,} rows, and {len(missing):,} of its tokenizer's tokens have none "
            f"({first}{', ...' if len(missing) > 3 else ''}). They are never generated, and text that holds one is "
            "refused.",
            stacklevel=4,
        )


def check_token_ids(tokenizer: Any, ids: Iterable[int], rows: int, name: str) -> None:
    """Raise ElicitError if one of `ids` is a token for which the weights have no row."""
    missing = next((i for i in ids if i >= rows), None)
    if missing is not None:
        token = one_line(repr(tokenizer.convert_ids_to_tokens(missing)), 60)
        raise ElicitError(
            f"the text holds the token {token} (id {missing}), for which the weights of {name} have no row (they have "
            f"{rows:,}). Leave it out of prompts, answers and chat template, or load the model that it was made for."
        )


@lru_cache(maxsize=64)
def make_id_tensor(ids: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Cached tensor of token ids on a device: decoding steps request the same ones again and again."""
    with torch.inference_mode(False):  # a tensor made in inference mode could not be used in training
        return torch.tensor(ids, dtype=torch.long, device=device)
