"""Sampling and scoring: one engine for every policy."""

from elicit.sampling.decoding import Completion, Decoding, Measure, Request
from elicit.sampling.engine import generate
from elicit.sampling.forward import Engine, Forward
from elicit.sampling.prefill import PLAIN
from elicit.sampling.score import Divergence, Scored, logprobs, measure_divergences
from elicit.sampling.stopping import truncate_at_stop

__all__ = [
    "PLAIN",
    "Completion",
    "Decoding",
    "Divergence",
    "Engine",
    "Forward",
    "Measure",
    "Request",
    "Scored",
    "truncate_at_stop",
    "measure_divergences",
    "generate",
    "logprobs",
]
