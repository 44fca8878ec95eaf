"""Sampling and scoring: one engine for every policy."""

from elicit.sampling.decoding import Completion, Decoding, Request
from elicit.sampling.engine import generate
from elicit.sampling.forward import PLAIN, Engine, Forward
from elicit.sampling.score import Divergence, Scored, divergences, logprobs

__all__ = [
    "PLAIN",
    "Completion",
    "Decoding",
    "Divergence",
    "Engine",
    "Forward",
    "Request",
    "Scored",
    "divergences",
    "generate",
    "logprobs",
]
