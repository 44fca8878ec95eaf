"""Readouts: other ways to get next-token logits out of the model than its own last layer."""

from elicit.readouts.core import Readout, load, save

__all__ = ["Readout", "load", "save"]
