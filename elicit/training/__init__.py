"""Reinforcement learning on verifiable rewards, with TRL's trainer and the lab's own sampler.

Importing this package brings in no torch; its modules do.
"""

from elicit.training.failures import TrainingFailed

__all__ = ["TrainingFailed"]
