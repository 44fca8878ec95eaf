"""Export a policy's weights as an ordinary model folder, for tools that take only models (vLLM, llama.cpp)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from elicit.errors import ElicitError, unknown_name_error
from elicit.merged import is_tied, merge_weights
from elicit.policy import Policy
from elicit.runs import writing_to
from elicit.training.quiet import silence_libraries

#: Tokens on which the merged model is compared with the policy before anything is written.
_PROBED = 16
#: Largest mean total variation of the next token between them: in float32, and with weights rounded to 16 bits.
_EXACT, _ROUNDED = 1e-4, 0.2

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def save_merged(policy: Policy, folder: str | Path, *, dtype: str | None = None) -> Path:
    """Write the model of a policy with merged weights and its tokenizer: a folder for `from_pretrained`.

    The base in memory is unchanged. If an adapter changes only one of a tied embedding and head, both are written and
    the folder's config no longer ties them. The folder has a row for each token of the tokenizer and no others, like
    the base in memory (`loading.rows`); rows between tokens that are not tokens are listed in its generation config, so
    that `generate` never draws them. A model folder does not contain prompting and decoding; the caller must set them.

    Args:
        folder: a new or empty folder.
        dtype: float32, bfloat16 or float16; None keeps the base's own. In bfloat16 an adapter is rounded to 8 bits
            together with the weight it is added to, so logits differ a little from the policy's; float32 keeps it.

    Raises:
        ElicitError: the policy is more than weights (steering, a search, a readout), the folder is not empty, or the
            merged weights give other predictions than the adapter.
    """
    target = Path(folder)
    extras = [
        name
        for name, present in (
            ("steering", policy.steering),
            ("a search", policy.search),
            ("a readout", policy.readout),
        )
        if present
    ]
    if extras:
        raise ElicitError(
            f"{policy!r} is more than weights: it has {' and '.join(extras)}, which a plain model folder cannot hold. "
            "Save it with `policy.save`, and load it with `elicit.load_policy`."
        )
    if dtype is not None and dtype not in _DTYPES:
        raise unknown_name_error("dtype", dtype, _DTYPES)
    if target.is_dir() and any(target.iterdir()):
        raise ElicitError(f"{target} is not empty. Give a new folder.")
    hf = merge_weights(policy.model.hf, policy.weights, None if dtype is None else _DTYPES[dtype])
    _tie_again_if_equal(hf, policy.model.hf)
    _check_logits(policy, hf)
    if policy.model.unassigned_ids:
        never = {*(hf.generation_config.suppress_tokens or ()), *policy.model.unassigned_ids}
        hf.generation_config.suppress_tokens = sorted(never)
    target.mkdir(parents=True, exist_ok=True)
    with silence_libraries(), writing_to(target):
        hf.save_pretrained(target)
        policy.model.tokenizer.save_pretrained(target)
    return target


def _tie_again_if_equal(hf: Any, base: Any) -> None:
    """Tie an embedding and a head again if the base ties them and they are still equal; else mark them as untied.

    Merging always leaves two tensors, and peft marks them as untied in the config.
    """
    embedding, head = hf.get_input_embeddings(), hf.get_output_embeddings()
    if not is_tied(base):
        return
    tied = torch.equal(embedding.weight, head.weight)
    if tied:
        head.weight = embedding.weight
    else:
        hf.all_tied_weights_keys = {}  # transformers omits these when saving
    for config in (hf.config, hf.config.get_text_config(decoder=True)):
        config.tie_word_embeddings = tied


def _check_logits(policy: Policy, hf: Any) -> None:
    """Refuse to write a model whose predictions differ from the policy's.

    Raises:
        ElicitError: the next-token distributions differ by more than rounding.
    """
    size = policy.model.hf.get_input_embeddings().num_embeddings
    ids = torch.arange(_PROBED, device=policy.model.device).mul(7919).remainder(size)[None]
    with torch.no_grad():
        with policy.apply():
            expected = policy.model.hf(input_ids=ids, use_cache=False).logits.float().softmax(-1)
        written = hf(input_ids=ids, use_cache=False).logits.float().softmax(-1)
    apart = float((written - expected).abs().sum(-1).mean() / 2)
    exact = hf.dtype == policy.model.dtype == torch.float32
    if not apart <= (_EXACT if exact else _ROUNDED):
        raise ElicitError(
            f"{policy!r} cannot be merged: the merged model's next token is off by {apart:.2g} (total variation) from "
            "the policy's. Save it with `policy.save`, and load it with `elicit.load_policy`."
        )
