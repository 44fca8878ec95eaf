"""Sampling and scoring: one engine for every policy."""

from elicit.sampling.decoding import Completion, Decoding, Measure, Request
from elicit.sampling.elsewhere import Elsewhere, OutsideEngine
from elicit.sampling.engine import Source, generate
from elicit.sampling.forward import Engine, Forward
from elicit.sampling.prefill import PLAIN
from elicit.sampling.score import Divergence, Scored, logprobs, measure_divergences
from elicit.sampling.stopping import truncate_at_stop

__all__ = [
    "PLAIN",
    "Completion",
    "Decoding",
    "Divergence",
    "Elsewhere",
    "Engine",
    "Forward",
    "Measure",
    "OutsideEngine",
    "Request",
    "Scored",
    "Source",
    "truncate_at_stop",
    "measure_divergences",
    "generate",
    "logprobs",
]
