"""A tiny random model for every tokenizer of the zoo, saved and loaded as a user's."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

import elicit
from elicit.model import BaseModel
from tests.zoo.kinds import ZOO, tokenizer_of


@functools.cache
def folder_of(name: str, more_rows: int) -> Path:
    """A folder with a Llama of random weights and the tokenizer of the zoo, with rows beyond the tokens."""
    kind, tokenizer = ZOO[name], tokenizer_of(name)
    path = Path(tempfile.mkdtemp(prefix="zoo-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    hf = random_llama(len(tokenizer))
    if more_rows:  # as probable as a row can be: whoever looks at them notices
        hf.resize_token_embeddings(len(tokenizer) + more_rows, mean_resizing=False)
        with torch.no_grad():
            hf.get_output_embeddings().weight[-more_rows:] = 100 * hf.get_output_embeddings().weight[:more_rows]
    hf.generation_config.eos_token_id = [
        tokenizer.eos_token_id,
        *(tokenizer.convert_tokens_to_ids(end) for end in kind.ends),
    ]
    hf.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@functools.cache
def model_of(name: str, *, padded: bool = True) -> BaseModel:
    """The model of a kind; `padded` False: without the rows beyond its tokens that it has."""
    return elicit.load(str(folder_of(name, ZOO[name].more_rows if padded else 0)))


def random_llama(rows: int) -> Any:
    """Two layers of width 16, drawn wide enough for text that depends on what stands before."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=rows, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hf = LlamaForCausalLM(config)
        for _, parameter in sorted(hf.named_parameters()):
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.4)
    return hf.eval()
