"""Sampling and scoring: one engine for every policy."""

from elicit.sampling.decoding import Completion, Decoding, Measure, Request
from elicit.sampling.engine import generate
from elicit.sampling.forward import Engine, Forward
from elicit.sampling.prefill import PLAIN
from elicit.sampling.score import Divergence, Scored, divergences, logprobs
from elicit.sampling.stopping import cut_before

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
    "cut_before",
    "divergences",
    "generate",
    "logprobs",
]
