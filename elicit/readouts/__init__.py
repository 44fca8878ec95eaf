"""Readouts: sources of next-token logits other than the model's own last layer.

with DolaReadout((0, 1)).open_forward(base) as forward:
    generate(base.engine, requests, decoding, forward)                              # the lab's sampler
    loop = elicit.search.custom_generate(None, base.tokenizer, forward=forward)     # or transformers' generate
    base.hf.generate(input_ids, custom_generate=loop, max_new_tokens=64)
"""

from elicit.readouts.catalog import READOUTS, load_readout, save_readout
from elicit.readouts.contrast import ContrastReadout
from elicit.readouts.core import Readout
from elicit.readouts.dola import DolaReadout
from elicit.readouts.hybrid import HybridReadout
from elicit.readouts.instead import ReplacementModel
from elicit.readouts.second import SecondModel

__all__ = [
    "READOUTS",
    "ContrastReadout",
    "DolaReadout",
    "HybridReadout",
    "ReplacementModel",
    "Readout",
    "SecondModel",
    "load_readout",
    "save_readout",
]
