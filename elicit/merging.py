"""A policy's weights as a plain model folder, for tools that take models and nothing else (vLLM, llama.cpp)."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from elicit.adapters import Adapter, injected, sharing
from elicit.errors import ElicitError, unknown
from elicit.policy import Policy
from elicit.runs import writing_to
from elicit.training.quiet import quiet
from elicit.weights import FullWeights

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def save_merged(policy: Policy, folder: str | Path, *, dtype: str | None = None) -> Path:
    """Write the model a policy runs, weights merged, with its tokenizer: a folder for `from_pretrained`.

    The base in memory is left as it is. Prompting and decoding are not in a model folder; the caller sets them again.

    Args:
        folder: a new or empty folder.
        dtype: float32, bfloat16 or float16; None keeps the base's own. In bfloat16 an adapter is rounded to 8 bits
            together with the weight it is added to, so logits differ a little from the policy's; float32 keeps it.

    Raises:
        ElicitError: a policy that is more than weights (steering, a search, a readout); a folder with something in it.
    """
    place = Path(folder)
    more = [
        name
        for name, there in (
            ("steering", policy.steering),
            ("a search", policy.search),
            ("a readout", policy.readout),
        )
        if there
    ]
    if more:
        raise ElicitError(
            f"{policy!r} is more than weights: it has {' and '.join(more)}, which a plain model folder cannot hold. "
            "Save it with `policy.save`, and load it with `elicit.load_policy`."
        )
    if dtype is not None and dtype not in _DTYPES:
        raise unknown("dtype", dtype, _DTYPES)
    if place.is_dir() and any(place.iterdir()):
        raise ElicitError(f"{place} is not empty. Give a new folder.")
    hf = sharing(policy.model.hf)
    if dtype is not None and _DTYPES[dtype] != policy.model.dtype:
        hf = copy.deepcopy(hf).to(_DTYPES[dtype])
    if isinstance(policy.weights, Adapter):
        # Safe merging makes new tensors; the other way adds into the base's own.
        hf = injected(hf, policy.weights).merge_and_unload(safe_merge=True)
    elif isinstance(policy.weights, FullWeights):
        own = dict(hf.named_parameters())
        for name, tensor in policy.weights.tensors.items():
            own[name].data = tensor.to(own[name].device, own[name].dtype)
    place.mkdir(parents=True, exist_ok=True)
    with quiet(), writing_to(place):
        hf.save_pretrained(place)
        policy.model.tokenizer.save_pretrained(place)
    return place
