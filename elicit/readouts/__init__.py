"""Readouts: sources of next-token logits other than the model's own last layer.

with DolaReadout((0, 1)).open_forward(base) as forward:                             # of elicit.methods.decoding.dola
    generate(base.engine, requests, decoding, forward)                              # the lab's sampler
    loop = elicit.search.custom_generate(None, base.tokenizer, forward=forward)     # or transformers' generate
    base.hf.generate(input_ids, custom_generate=loop, max_new_tokens=64)

The readouts of decoding methods stand in the files of their methods. All are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from elicit.readouts.catalog import READOUTS, load_readout, save_readout
from elicit.readouts.core import Readout

if TYPE_CHECKING:
    from elicit.readouts.hybrid import HybridReadout
    from elicit.readouts.instead import ReplacementModel
    from elicit.readouts.second import SecondModel

__all__ = [
    "READOUTS",
    "HybridReadout",
    "ReplacementModel",
    "Readout",
    "SecondModel",
    "load_readout",
    "save_readout",
]

_LATER = {"HybridReadout": "hybrid", "ReplacementModel": "instead", "SecondModel": "second"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
