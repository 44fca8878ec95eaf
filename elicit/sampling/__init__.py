"""Sampling and scoring: one engine for every policy."""

from elicit.sampling.decoding import Completion, Decoding, Request
from elicit.sampling.engine import generate
from elicit.sampling.forward import Engine
from elicit.sampling.score import Divergence, Scored, divergences, logprobs

__all__ = ["Completion", "Decoding", "Divergence", "Engine", "Request", "Scored", "divergences", "generate", "logprobs"]
